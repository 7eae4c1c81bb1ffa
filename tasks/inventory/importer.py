"""Takes inventory files into the database: new entries are added, known ones changed, none removed."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from tasks.inventory import sync_requests
from tasks.inventory.database import Database
from tasks.inventory.entries import NodeEntry, SubcloudEntry
from tasks.inventory.inventory_file import InventoryFile, KnownDrivers
from tasks.inventory.models import Node, Subcloud


class Kind(StrEnum):
    """What an inventory file lists."""

    NODES = "nodes"
    SUBCLOUDS = "subclouds"


@dataclass(frozen=True, slots=True)
class Imported:
    """How many entries of one kind were new, changed and unchanged."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0


def import_file(
    database: Database,
    path: str | Path,
    kinds: Collection[Kind] = frozenset(Kind),
    *,
    node_drivers: KnownDrivers,
    subcloud_drivers: KnownDrivers,
) -> dict[Kind, Imported]:
    """Import an inventory file: all of it in one transaction, or nothing.

    The whole file is checked, whichever kinds are asked for. An entry is known by its name. A subcloud that becomes
    managed and online requests its initial sync, one that no longer is both cancels it.

    Args:
        database: Where to import to.
        path: The YAML file.
        kinds: What to import. Defaults to whatever the file holds.
        node_drivers: The node drivers there are; they check the driver_info of their nodes.
        subcloud_drivers: The subcloud drivers there are; they check the driver_info of their subclouds.

    Raises:
        InventoryFileError: with every problem of the file, each with its line.
    """
    file = InventoryFile(Path(path), node_drivers=node_drivers, subcloud_drivers=subcloud_drivers)
    if len(kinds) == 1:
        for kind in kinds:
            if not file.has(kind):
                file.add_problem(0, f"has no list `{kind}:`")
    file.raise_problems()
    result: dict[Kind, Imported] = {}
    with database.session() as session:
        if Kind.NODES in kinds and file.has(Kind.NODES):
            result[Kind.NODES] = _import_nodes(session, file)
        if Kind.SUBCLOUDS in kinds and file.has(Kind.SUBCLOUDS):
            result[Kind.SUBCLOUDS] = _import_subclouds(session, file)
        file.raise_problems()
    return result


def _import_nodes(session: Session, file: InventoryFile) -> Imported:
    known = {node.name: node for node in session.scalars(select(Node))}
    owners = {node.uuid: node.name for node in known.values()}
    counts = _Counts()
    for line, entry in file.nodes:
        node = known.get(entry.name)
        owner = owners.get(entry.uuid or "", entry.name)
        if owner != entry.name:
            file.add_problem(line, f"the UUID {entry.uuid} belongs to the node {owner!r}")
        elif node is None:
            session.add(Node(uuid=entry.uuid or str(uuid4()), **_node_values(entry)))
            counts.new += 1
        elif entry.uuid not in {None, node.uuid}:
            file.add_problem(line, f"the node {entry.name!r} has the UUID {node.uuid}, and a UUID never changes")
        else:
            counts.assign(node, _node_values(entry))
    return counts.result()


def _import_subclouds(session: Session, file: InventoryFile) -> Imported:
    known = {subcloud.name: subcloud for subcloud in session.scalars(select(Subcloud))}
    counts = _Counts()
    turned: list[SubcloudEntry] = []
    for _line, entry in file.subclouds:
        subcloud = known.get(entry.name)
        turns = _turns(subcloud, entry)
        if subcloud is None:
            session.add(Subcloud(**_subcloud_values(entry)))
            counts.new += 1
        else:
            counts.assign(subcloud, _subcloud_values(entry), otherwise_changed=turns)
        if turns:
            turned.append(entry)
    session.flush()
    for entry in turned:
        sync_requests.update_states(session, [entry.name], managed=entry.managed, online=entry.online)
    return counts.result()


def _turns(subcloud: Subcloud | None, entry: SubcloudEntry) -> bool:
    """Whether the entry makes the subcloud managed or online, or no longer so."""
    before = (subcloud.managed, subcloud.online) if subcloud else (False, False)
    after = (entry.managed, entry.online)
    return any(new is not None and new != old for old, new in zip(before, after, strict=True))


def _node_values(entry: NodeEntry) -> dict[str, Any]:
    silent = {"maintenance", "maintenance_reason"} if entry.maintenance is None else set[str]()
    return entry.model_dump(exclude={"uuid", *silent})


def _subcloud_values(entry: SubcloudEntry) -> dict[str, Any]:
    return entry.model_dump(exclude={"managed", "online"})


class _Counts:
    def __init__(self) -> None:
        self.new = self.changed = self.unchanged = 0

    def assign(self, row: Node | Subcloud, values: dict[str, Any], *, otherwise_changed: bool = False) -> None:
        differing = {name: value for name, value in values.items() if getattr(row, name) != value}
        for name, value in differing.items():
            setattr(row, name, value)
        changed = bool(differing) or otherwise_changed
        self.changed += changed
        self.unchanged += not changed

    def result(self) -> Imported:
        return Imported(self.new, self.changed, self.unchanged)
