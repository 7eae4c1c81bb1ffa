"""What asks for initial syncs and calls them off: notices about subclouds, and operators. See ``sync_rows``.

Each verb is one statement for any number of subclouds, and raises the generation of the rows that it changes.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, and_, case, false, literal, null, or_, select, true, update
from sqlalchemy.orm import Session

from locking import server_now
from tasks.inventory import subclouds
from tasks.inventory.models import Subcloud, SyncState
from tasks.inventory.references import unique
from tasks.inventory.sync_ticket import TICKET_COLUMNS, SyncTicket

#: Names in one statement; databases limit the number of its parameters (SQLite to 32,766).
MOST_NAMES = 20_000

#: Both must hold for a subcloud to be synchronised.
_REQUESTED_BY = (Subcloud.managed, Subcloud.online)
_UNDER_WAY = (SyncState.REQUESTED, SyncState.IN_PROGRESS)
_ANEW: dict[str, object] = {
    "generation": Subcloud.generation + 1,
    "attempts": 0,
    "claimed_by": None,
    "lease_until": None,
    "last_error": None,
    "failure": None,
    "parked_at": None,
}

Names = Iterable[str] | None


def update_states(
    session: Session,
    names: Names,
    *,
    managed: bool | None = None,
    online: bool | None = None,
    again_after: float | None = None,
) -> list[SyncTicket]:
    """Record whether subclouds are managed and online, which requests or cancels their initial syncs.

    Managed and online together request it; anything else cancels it. What does not change is ignored, so that a
    repeated notice neither requests nor cancels anything.

    Args:
        session: one that may write.
        names: the subclouds; None is all of them.
        managed: whether they are managed. Defaults to what each is.
        online: whether they are online. Defaults to what each is.
        again_after: after how many seconds an unclaimed request is due for dispatch, because its message was lost.
            Defaults to at once: nobody sends a message.

    Returns:
        The new requests.

    Raises:
        UnknownSubcloud: some are not in the inventory; then nothing is changed.
    """
    given = {column: value for column, value in (("managed", managed), ("online", online)) if value is not None}
    wanted = and_(*(literal(given[column.key]) if column.key in given else column for column in _REQUESTED_BY))
    differs = or_(false(), *(column != given[column.key] for column in _REQUESTED_BY if column.key in given))
    values: dict[str, object] = {
        **given,
        **_ANEW,
        "state": case((wanted, SyncState.REQUESTED), else_=SyncState.NONE),
        "next_attempt_at": case((wanted, _due_after(again_after)), else_=null()),
        "enabled": False,
        "step": None,
    }
    if managed is False:
        # Whoever owns it meanwhile may change anything in it.
        values["subsequent_sync"] = False
    return _change(session, names, differs, values)


def request(session: Session, names: Names, *, again_after: float | None = None) -> list[SyncTicket]:
    """Ask for a whole sync of managed subclouds that are online, and have none under way; others are left alone.

    Args:
        session: one that may write.
        names: the subclouds; None is all of them.
        again_after: as in `update_states`.

    Raises:
        UnknownSubcloud: some are not in the inventory; then nothing is changed.
    """
    possible = and_(*_REQUESTED_BY, Subcloud.state.not_in(_UNDER_WAY))
    values = {**_requested(again_after), "step": None, "subsequent_sync": False}
    return _change(session, names, possible, values)


def retry(session: Session, names: Names, *, again_after: float | None = None) -> list[SyncTicket]:
    """Ask for failed syncs again, those that were given up too, at once and at the step that failed.

    Args:
        session: one that may write.
        names: the subclouds; None is all of them.
        again_after: as in `update_states`.

    Raises:
        UnknownSubcloud: some are not in the inventory; then nothing is changed.
    """
    values = {**_requested(again_after), "unreachable": 0}
    return _change(session, names, Subcloud.state == SyncState.FAILED, values)


def cancel(session: Session, names: Names) -> list[SyncTicket]:
    """Call off the syncs that are requested, in progress or failed; return what was called off.

    A run sees it before its next request to the subcloud. Nothing is synchronised until somebody asks again.

    Raises:
        UnknownSubcloud: some are not in the inventory; then nothing is changed.
    """
    pending = Subcloud.state.in_((*_UNDER_WAY, SyncState.FAILED))
    values = {**_ANEW, "state": SyncState.NONE, "next_attempt_at": None, "step": None}
    return _change(session, names, pending, values, state=SyncState.NONE)


def sweep(session: Session) -> int:
    """Request every sync that is in progress or failed anew, whoever works on it, and return how many there were.

    This is what the original does when an engine starts; the lock on each subcloud keeps two runs apart.
    """
    values: dict[str, object] = {"state": SyncState.REQUESTED, "claimed_by": None, "lease_until": None}
    unfinished = Subcloud.state.in_((SyncState.IN_PROGRESS, SyncState.FAILED))
    swept = update(Subcloud).where(_locked(unfinished)).values(**values, next_attempt_at=None, parked_at=None)
    result = session.execute(swept.execution_options(synchronize_session=False))
    return int(result.rowcount)  # type: ignore[attr-defined]  # an UPDATE gives a CursorResult


def _requested(again_after: float | None) -> dict[str, object]:
    return {**_ANEW, "state": SyncState.REQUESTED, "next_attempt_at": _due_after(again_after), "enabled": False}


def _due_after(seconds: float | None) -> ColumnElement[float]:
    return server_now() if seconds is None else server_now() + seconds


def _change(
    session: Session,
    names: Names,
    condition: ColumnElement[bool],
    values: dict[str, object],
    *,
    state: SyncState = SyncState.REQUESTED,
) -> list[SyncTicket]:
    """Change the rows that are named and meet the condition; return those that are in the given state now."""
    wanted = None if names is None else unique(names)
    if wanted is not None:
        subclouds.check_known(session, wanted)
    changed: list[SyncTicket] = []
    for named in _pages(wanted):
        rows = session.execute(
            update(Subcloud)
            .where(_locked(and_(named, condition)))
            .values(**values)
            .returning(*TICKET_COLUMNS, Subcloud.state)
            .execution_options(synchronize_session=False)
        )
        changed += [SyncTicket.of(row) for row in rows if row.state is state]
    return sorted(changed, key=lambda ticket: ticket.name)


def _pages(names: Sequence[str] | None) -> Iterable[ColumnElement[bool]]:
    if names is None:
        return (true(),)
    return (Subcloud.name.in_(names[at : at + MOST_NAMES]) for at in range(0, len(names), MOST_NAMES))


def _locked(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition, for rows that are locked in the order of their ids, so that two statements cannot deadlock."""
    return Subcloud.id.in_(select(Subcloud.id).where(condition).order_by(Subcloud.id).with_for_update())
