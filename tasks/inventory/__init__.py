"""What Fleetring knows of its fleet: nodes and subclouds, their tables, look-ups and inventory files."""

from tasks.inventory import audit_rows, nodes, power_rows, subclouds, sync_requests, sync_rows
from tasks.inventory.database import Database
from tasks.inventory.errors import (
    ConcurrentChange,
    DatabaseNotMigrated,
    DatabaseUnreachable,
    InventoryError,
    InventoryFileError,
    Problem,
    UnknownNode,
    UnknownSubcloud,
)
from tasks.inventory.importer import Imported, Kind, import_file
from tasks.inventory.inventory_file import KnownDrivers
from tasks.inventory.models import Audit, AuditState, Base, Node, Subcloud, SyncFailure, SyncState
from tasks.inventory.node_writes import overwrite, write
from tasks.inventory.references import as_uuid
from tasks.inventory.sync_ticket import SyncTicket

__all__ = [
    "Audit",
    "AuditState",
    "Base",
    "ConcurrentChange",
    "Database",
    "DatabaseNotMigrated",
    "DatabaseUnreachable",
    "Imported",
    "InventoryError",
    "InventoryFileError",
    "Kind",
    "KnownDrivers",
    "Node",
    "Problem",
    "Subcloud",
    "SyncFailure",
    "SyncState",
    "SyncTicket",
    "UnknownNode",
    "UnknownSubcloud",
    "as_uuid",
    "audit_rows",
    "import_file",
    "nodes",
    "overwrite",
    "power_rows",
    "subclouds",
    "sync_requests",
    "sync_rows",
    "write",
]
