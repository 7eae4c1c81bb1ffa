"""Look-ups of nodes."""

from collections.abc import Iterable, Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from tasks.inventory.errors import UnknownNode
from tasks.inventory.models import Node
from tasks.inventory.references import as_uuid, unique

CHUNK = 1000
"""References in one query; databases take some ten thousand parameters at the most."""


def find(session: Session, references: str | Iterable[str]) -> list[Node]:
    """Load nodes by name or UUID, mixed.

    The caller's order is kept, and a node that is named twice, be it by name and by UUID, comes once. No reference
    gives no node. More than `CHUNK` references take a query for each chunk.

    Raises:
        UnknownNode: naming every reference that is not in the inventory.
    """
    wanted = [as_uuid(reference) or reference for reference in unique(references)]
    if not wanted:
        return []
    known: dict[str, Node] = {}
    for start in range(0, len(wanted), CHUNK):
        for node in _loaded(session, wanted[start : start + CHUNK]):
            known[node.name] = known[node.uuid] = node
    if unknown := [reference for reference in wanted if reference not in known]:
        raise UnknownNode(unknown)
    return list(dict.fromkeys(known[reference] for reference in wanted))


def _loaded(session: Session, references: Sequence[str]) -> Iterable[Node]:
    uuids = [reference for reference in references if as_uuid(reference)]
    names = [reference for reference in references if not as_uuid(reference)]
    return session.scalars(select(Node).where(or_(Node.uuid.in_(uuids), Node.name.in_(names))))


def list_(
    session: Session,
    *,
    driver: str | None = None,
    power_state: str | None = None,
    maintenance: bool | None = None,
    failed: bool | None = None,
    parked: bool | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Sequence[Node]:
    """Nodes in the order of their names.

    Args:
        session: An open session.
        driver: Only nodes of this driver. Defaults to all.
        power_state: Only nodes last seen in this state. Defaults to all.
        maintenance: Only nodes in (True) or out of (False) maintenance. Defaults to both.
        failed: Only nodes with (True) or without (False) a last error. Defaults to both.
        parked: Only nodes with (True) or without (False) an alarm. Defaults to both.
        after: Only nodes whose name follows this one: the last name of the page before. Defaults to the beginning.
        limit: At most so many. Defaults to all.
    """
    query = select(Node).order_by(Node.name)
    if driver is not None:
        query = query.where(Node.driver == driver)
    if power_state is not None:
        query = query.where(Node.power_state == power_state)
    if maintenance is not None:
        query = query.where(Node.maintenance == maintenance)
    if failed is not None:
        query = query.where(Node.last_error.is_not(None) if failed else Node.last_error.is_(None))
    if parked is not None:
        query = query.where(Node.alarm.is_not(None) if parked else Node.alarm.is_(None))
    if after is not None:
        query = query.where(Node.name > after)
    return session.scalars(query.limit(limit)).all()
