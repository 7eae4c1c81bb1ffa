"""What Fleetring knows of its fleet: nodes and subclouds, their tables, look-ups and inventory files."""

from tasks.inventory import nodes, subclouds, sync_rows
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
from tasks.inventory.models import Base, Node, Subcloud, SyncState
from tasks.inventory.references import as_uuid
from tasks.inventory.sync_rows import SyncTicket

__all__ = [
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
    "SyncState",
    "SyncTicket",
    "UnknownNode",
    "UnknownSubcloud",
    "as_uuid",
    "import_file",
    "nodes",
    "subclouds",
    "sync_rows",
]
