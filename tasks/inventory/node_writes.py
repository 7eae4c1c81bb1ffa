"""Writing a node's row so that nobody's change is lost: through the fence of a lock, and against the row's version."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from locking import Lock, fenced
from tasks.inventory.database import Database
from tasks.inventory.errors import ConcurrentChange, InventoryError, UnknownNode
from tasks.inventory.models import Node

_COLUMNS = tuple(column.key for column in Node.__table__.columns)
_KEPT = frozenset({"id", "uuid", "name", "fence", "version", "created_at", "updated_at"})

#: So often a write starts over because others wrote other columns of the row; then it gives up.
ATTEMPTS = 10


def write(database: Database, lock: Lock, node: Node, changes: Mapping[str, Any]) -> None:
    """Write columns of a node's row, unless somebody changed one of them since the node was loaded.

    Other columns may have changed: an import or an operator needs no lock for the ones that no action writes. The
    node carries the row's newest values afterwards.

    Raises:
        LockLost: a later holder of the lock has written already; nothing is written.
        ConcurrentChange: a column that is to be written was changed meanwhile; nothing is written.
        UnknownNode: the row was deleted meanwhile.
        InventoryError: there is no such column, or it isn't for tasks to write.
    """
    _check(changes)
    for _attempt in range(ATTEMPTS):
        with database.session() as session:
            if _write_version(session, lock, node, changes):
                break
            _take_over(session, node, changes)
    else:
        raise ConcurrentChange(f"node {node.name} was changed by others {ATTEMPTS} times in a row: try again later")
    _carry(node, {**changes, "version": node.version + 1})


def overwrite(database: Database, lock: Lock, node: Node, facts: Mapping[str, Any]) -> None:
    """Write columns whose values owe nothing to the row, such as facts read from the hardware; the last one wins.

    Raises:
        LockLost: a later holder of the lock has written already; nothing is written.
        UnknownNode: the row was deleted meanwhile.
        InventoryError: there is no such column, or it isn't for tasks to write.
    """
    _check(facts)
    with database.session() as session:
        statement = fenced(update(Node).where(Node.id == node.id).values(**facts), lock)
        if not session.execute(statement).rowcount:  # type: ignore[attr-defined]  # an UPDATE's result has it
            raise UnknownNode([node.name])
        _carry(node, _row(session, node))


def _check(changes: Mapping[str, Any]) -> None:
    if wrong := sorted(set(changes) - set(_COLUMNS)) or sorted(_KEPT & set(changes)):
        legal = ", ".join(column for column in _COLUMNS if column not in _KEPT)
        raise InventoryError(f"a task can't write {', '.join(wrong)} of a node; it can write {legal}")


def _write_version(session: Session, lock: Lock, node: Node, changes: Mapping[str, Any]) -> bool:
    # The version is no part of what the fence is checked with: a later holder's write has raised both.
    statement = fenced(update(Node).where(Node.id == node.id).values(**changes), lock)
    written = session.execute(statement.where(Node.version == node.version))
    return bool(written.rowcount)  # type: ignore[attr-defined]  # an UPDATE's result has it


def _take_over(session: Session, node: Node, changes: Mapping[str, Any]) -> None:
    """Take over what others wrote into other columns than the `changes`."""
    row = _row(session, node)
    if theirs := [column for column in changes if row[column] != getattr(node, column)]:
        raise ConcurrentChange(
            f"node {node.name}: {', '.join(theirs)} changed since this task loaded it (version {node.version}, now "
            f"{row['version']}); nothing was written: reload() the nodes, look, and decide anew"
        )
    _carry(node, row)


def _row(session: Session, node: Node) -> dict[str, Any]:
    row = session.execute(select(*Node.__table__.columns).where(Node.id == node.id)).mappings().first()
    if row is None:
        raise UnknownNode([node.name])
    return dict(row)


def _carry(node: Node, values: Mapping[str, Any]) -> None:
    for column, value in values.items():
        set_committed_value(node, column, value)
