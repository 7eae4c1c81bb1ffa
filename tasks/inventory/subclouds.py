"""Look-ups of subclouds."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tasks.inventory.errors import UnknownSubcloud
from tasks.inventory.models import Subcloud, SyncState
from tasks.inventory.references import unique

# Databases limit the parameters of a statement, SQLite to 32,766.
_PAGE = 20_000


def find(session: Session, names: str | Iterable[str]) -> list[Subcloud]:
    """Load subclouds by name in one query, each once and in the caller's order; no name gives no subcloud.

    Raises:
        UnknownSubcloud: naming every name that is not in the inventory.
    """
    wanted = unique(names)
    if not wanted:
        return []
    known = {subcloud.name: subcloud for subcloud in session.scalars(select(Subcloud).where(Subcloud.name.in_(wanted)))}
    if unknown := [name for name in wanted if name not in known]:
        raise UnknownSubcloud(unknown)
    return [known[name] for name in wanted]


def check_known(session: Session, names: Sequence[str]) -> None:
    """Raise UnknownSubcloud, naming every name that is not in the inventory; thousands of names are fine."""
    pages = (names[at : at + _PAGE] for at in range(0, len(names), _PAGE))
    known = {name for page in pages for name in session.scalars(select(Subcloud.name).where(Subcloud.name.in_(page)))}
    if unknown := [name for name in names if name not in known]:
        raise UnknownSubcloud(unknown)


def list_(
    session: Session,
    *,
    states: Collection[SyncState] | None = None,
    driver: str | None = None,
    managed: bool | None = None,
    online: bool | None = None,
    enabled: bool | None = None,
    parked: bool | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Sequence[Subcloud]:
    """Subclouds in the order of their names.

    Args:
        session: An open session.
        states: Only subclouds in one of these states. Defaults to all.
        driver: Only subclouds of this driver. Defaults to all.
        managed: Only managed (True) or unmanaged (False) ones. Defaults to both.
        online: Only those that are online (True) or offline (False). Defaults to both.
        enabled: Only those whose sync is enabled (True) or not (False). Defaults to both.
        parked: Only those whose sync was given up (True) or not (False). Defaults to both.
        after: Only subclouds whose name follows this one: the last name of the page before. Defaults to the beginning.
        limit: At most so many. Defaults to all.
    """
    query = select(Subcloud).order_by(Subcloud.name)
    if states is not None:
        query = query.where(Subcloud.state.in_(states))
    if driver is not None:
        query = query.where(Subcloud.driver == driver)
    for column, value in ((Subcloud.managed, managed), (Subcloud.online, online), (Subcloud.enabled, enabled)):
        if value is not None:
            query = query.where(column == value)
    if parked is not None:
        query = query.where(Subcloud.parked_at.is_not(None) if parked else Subcloud.parked_at.is_(None))
    if after is not None:
        query = query.where(Subcloud.name > after)
    return session.scalars(query.limit(limit)).all()
