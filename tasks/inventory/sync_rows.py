"""The initial sync's state machine: every transition is one conditional UPDATE of the subcloud's row.

A transition names the generation that it belongs to, so that a request, a cancel and a second request are told apart: a
message or a worker of an older generation changes nothing. All times are the database's clock, in epoch seconds.

::

    none --request--> requested --claim--> in-progress --complete--> completed
                                   ^           |  |
                                   |  lease    |  +-- fail --> failed --claim, after its hold-off--> in-progress
                                   +--ends-----+
    any state --cancel--> none            in-progress --claim, after its lease ended--> in-progress
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, false, literal, or_, select, update
from sqlalchemy.orm import Session

from locking import server_now
from tasks.inventory import subclouds
from tasks.inventory.models import Subcloud, SyncState


@dataclass(frozen=True, slots=True)
class SyncTicket:
    """One subcloud that is due, in one generation; this is all that a message needs to carry."""

    name: str
    generation: int
    attempts: int


#: Both must hold for a subcloud to be synchronised.
_REQUESTED_BY = (Subcloud.managed, Subcloud.online)
_UNCLAIMED: dict[str, object] = {"claimed_by": None, "lease_until": None, "next_attempt_at": None}


def update_state(
    session: Session, name: str, *, managed: bool | None = None, online: bool | None = None
) -> SyncTicket | None:
    """Record whether a subcloud is managed and online, which requests or cancels its initial sync.

    Managed and online together request it; anything else cancels it. What does not change is ignored, so that a
    repeated notice neither requests nor cancels anything.

    Args:
        session: one that may write.
        name: the subcloud.
        managed: whether it is managed. Defaults to what it is.
        online: whether it is online. Defaults to what it is.

    Returns:
        The new request, where there is one.

    Raises:
        UnknownSubcloud: it is not in the inventory.
    """
    given = {"managed": managed, "online": online}
    given = {column: value for column, value in given.items() if value is not None}
    wanted = and_(*(literal(given[column.key]) if column.key in given else column for column in _REQUESTED_BY))
    differs = or_(false(), *(column != given[column.key] for column in _REQUESTED_BY if column.key in given))
    changed = _changed(
        session,
        and_(Subcloud.name == name, differs),
        **given,
        **_UNCLAIMED,
        state=case((wanted, SyncState.REQUESTED), else_=SyncState.NONE),
        generation=Subcloud.generation + 1,
        attempts=0,
        enabled=False,
        step=None,
        last_error=None,
    )
    [row] = subclouds.find(session, name)
    return _ticket(row) if changed and row.state is SyncState.REQUESTED else None


def take_due(session: Session, *, limit: int, again_after: float) -> list[SyncTicket]:
    """Take the subclouds that should be synchronised now, fresh requests first; each is handed out once.

    Due are requests that no message was sent for, failures whose hold-off is over, and rows whose worker died. A taken
    one becomes due again after a while, in case its message is lost.

    Args:
        session: one that may write.
        limit: at most so many.
        again_after: how long a taken one is left alone, in seconds.
    """
    taken = (
        select(Subcloud.id)
        .where(_due())
        .order_by(Subcloud.attempts, Subcloud.next_attempt_at, Subcloud.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = session.scalars(taken).all()
    if not ids:
        return []
    session.execute(_set(Subcloud.id.in_(ids), next_attempt_at=server_now() + again_after))
    rows = session.scalars(select(Subcloud).where(Subcloud.id.in_(ids)).order_by(Subcloud.attempts, Subcloud.id))
    return [_ticket(row) for row in rows]


def postpone(session: Session, ticket: SyncTicket, *, by: float) -> bool:
    """Leave a request alone for a while, because a message for it is under way; say whether it still stands."""
    standing = and_(Subcloud.name == ticket.name, Subcloud.generation == ticket.generation, _claimable_state())
    return _changed(session, standing, next_attempt_at=server_now() + by)


def claim(session: Session, name: str, generation: int, *, owner: str, lease: float) -> Subcloud | None:
    """Claim a subcloud for one run of its sync; None when it is no longer to be done, or not by us.

    Args:
        session: one that may write.
        name: the subcloud.
        generation: the request that the run belongs to.
        owner: who claims it.
        lease: for how long, in seconds; each further transition renews it.
    """
    free = or_(_claimable_state(), and_(Subcloud.state == SyncState.IN_PROGRESS, _lease_is_over()))
    claimed = _changed(
        session,
        and_(Subcloud.name == name, Subcloud.generation == generation, free),
        state=SyncState.IN_PROGRESS,
        claimed_by=owner,
        lease_until=server_now() + lease,
        attempts=Subcloud.attempts + 1,
        next_attempt_at=None,
    )
    return subclouds.find(session, name)[0] if claimed else None


def advance(session: Session, claimed: Subcloud, *, step: str, lease: float) -> bool:
    """Record the step that comes next and renew the lease; False when the sync was cancelled or taken over."""
    return _changed(session, _still_ours(claimed), step=step, lease_until=server_now() + lease)


def complete(session: Session, claimed: Subcloud) -> bool:
    """Record that everything is done and the subcloud enabled; False when it was cancelled or taken over."""
    return _changed(
        session,
        _still_ours(claimed),
        **_UNCLAIMED,
        state=SyncState.COMPLETED,
        step=None,
        attempts=0,
        last_error=None,
        enabled=True,
        last_synced_at=server_now(),
    )


def fail(session: Session, claimed: Subcloud, *, error: str, hold_off: float) -> bool:
    """Record a failure; the next attempt resumes at the failed step after the hold-off, in seconds."""
    failed = {**_UNCLAIMED, "state": SyncState.FAILED, "next_attempt_at": server_now() + hold_off, "last_error": error}
    return _changed(session, _still_ours(claimed), **failed)


def _ticket(row: Subcloud) -> SyncTicket:
    return SyncTicket(row.name, row.generation, row.attempts)


def _due() -> ColumnElement[bool]:
    arrived = or_(Subcloud.next_attempt_at.is_(None), Subcloud.next_attempt_at <= server_now())
    abandoned = and_(Subcloud.state == SyncState.IN_PROGRESS, _lease_is_over())
    return and_(or_(_claimable_state(), abandoned), arrived)


def _claimable_state() -> ColumnElement[bool]:
    return Subcloud.state.in_((SyncState.REQUESTED, SyncState.FAILED))


def _lease_is_over() -> ColumnElement[bool]:
    return Subcloud.lease_until <= server_now()


def _still_ours(claimed: Subcloud) -> ColumnElement[bool]:
    return and_(
        Subcloud.name == claimed.name,
        Subcloud.generation == claimed.generation,
        Subcloud.state == SyncState.IN_PROGRESS,
        Subcloud.claimed_by == claimed.claimed_by,
    )


def _set(condition: ColumnElement[bool], **values: object):  # type: ignore[no-untyped-def]  # SQLAlchemy's own type says more
    return update(Subcloud).where(condition).values(**values).execution_options(synchronize_session=False)


def _changed(session: Session, condition: ColumnElement[bool], **values: object) -> bool:
    result = session.execute(_set(condition, **values))
    return bool(result.rowcount)  # type: ignore[attr-defined]  # an UPDATE gives a CursorResult
