"""The rows of nodes as the power sync reads and writes them: many in one statement."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from locking import Lock, fenced, server_now
from tasks.inventory.models import Node

#: What makes a node one that the power sync does not look at; a transition is one that an action has asked for.
_IN_SERVICE: tuple[ColumnElement[bool], ...] = (Node.maintenance.is_(False), Node.alarm.is_(None))


@dataclass(frozen=True, slots=True)
class KnownPower:
    """What the inventory knows of a node, as far as its power goes; the columns of `Node`."""

    id: int
    name: str
    driver: str
    driver_info: Mapping[str, Any]
    power_state: str | None
    power_failures: int
    power_changes: int
    power_changes_since: float | None
    version: int


_COLUMNS = [getattr(Node, field.name) for field in fields(KnownPower)]


def in_service(session: Session) -> Sequence[str]:
    """Names of the nodes whose power is to be watched, those that did not answer lately first."""
    return session.scalars(select(Node.name).where(*_IN_SERVICE).order_by(Node.power_failures.desc(), Node.name)).all()


def silent(session: Session) -> Sequence[str]:
    """Names of the nodes that did not answer lately."""
    return session.scalars(select(Node.name).where(Node.power_failures > 0, *_IN_SERVICE)).all()


def load(session: Session, names: Iterable[str]) -> list[KnownPower]:
    """Load those of the named nodes that are to be looked at: in service, and in no transition."""
    wanted = (Node.name.in_(list(names)), Node.target_power_state.is_(None), *_IN_SERVICE)
    return [KnownPower(*row) for row in session.execute(select(*_COLUMNS).where(*wanted))]


def now(session: Session) -> float:
    """The database's clock, in epoch seconds."""
    return float(session.scalars(select(server_now())).one())


def unchanged(session: Session, known: Sequence[KnownPower]) -> list[KnownPower]:
    """Those of the nodes that nobody has written since they were loaded; they stay so until the session ends."""
    ids = [node.id for node in known]
    rows = session.execute(select(Node.id, Node.version).where(Node.id.in_(ids)).order_by(Node.id).with_for_update())
    versions = {row.id: row.version for row in rows}
    return [node for node in known if versions.get(node.id) == node.version]


def write(session: Session, lock: Lock, changes: Iterable[tuple[KnownPower, Mapping[str, Any]]]) -> None:
    """Write each node's changes through the fence of a lock on all of them; equal changes go in one statement.

    Raises:
        LockLost: a later holder of the lock on one of them has written already.
    """
    ordered = sorted(changes, key=lambda change: (repr(sorted(change[1].items())), change[0].id))
    for _, alike in groupby(ordered, key=lambda change: change[1]):
        group = list(alike)
        statement = update(Node).where(Node.id.in_([node.id for node, _ in group])).values(**group[0][1])
        session.execute(fenced(statement, lock), execution_options={"synchronize_session": False})


def restore(session: Session, names: Iterable[str]) -> None:
    """Take nodes out of maintenance, and forget what the power sync held against them."""
    forgotten = {"power_failures": 0, "power_changes": 0, "power_changes_since": None, "alarm": None}
    back = {"maintenance": False, "maintenance_reason": None}
    session.execute(update(Node).where(Node.name.in_(list(names))).values(**forgotten, **back))
