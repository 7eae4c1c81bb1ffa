"""The initial sync's state machine: every transition is one conditional UPDATE of the subcloud's row.

A transition names the generation that it belongs to, so that a request, a cancel and a second request are told apart: a
message or a worker of an older generation changes nothing. All times are the database's clock, in epoch seconds.

::

    none --request--> requested --claim--> in-progress --complete--> completed
                       ^   ^  ^                |  |
                       |   |  +--- give back --+  |
                       |   +--- lease ends -------+-- fail --> failed --> parked, after the last attempt
                       +------------ its hold-off is over ------+
    any state --cancel--> none

What requests and cancels is in ``sync_requests``; here is what dispatch and workers do.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Row, and_, case, func, literal, not_, null, or_, select, update
from sqlalchemy.orm import Session

from locking import server_now
from tasks.inventory.models import Subcloud, SyncFailure, SyncState
from tasks.inventory.sync_ticket import TICKET_COLUMNS, SyncTicket, is_retry

#: The longest owner that a claim takes, in characters; of a longer one it is the end that counts.
LONGEST_OWNER = 255
_UNCLAIMED: dict[str, object] = {"claimed_by": None, "lease_until": None, "next_attempt_at": None}
#: Failures after which a subcloud may be dead.
_NOBODY_THERE = (SyncFailure.UNREACHABLE, SyncFailure.TIMEOUT)


# -- dispatch


def requeue_abandoned(session: Session, *, max_attempts: int) -> int:
    """Request the syncs anew whose worker let its lease end, and return how many there were.

    One that began `max_attempts` times is parked instead, for it may be what kills its workers; 0 never parks.
    """
    last = _is_last(max_attempts)
    cause = literal("its worker, ").concat(Subcloud.claimed_by).concat(", died or lost its connections; see its log")
    return _change(
        session,
        _in_order_of_ids(and_(Subcloud.state == SyncState.IN_PROGRESS, _lease_is_over())),
        state=case((last, SyncState.FAILED), else_=SyncState.REQUESTED),
        parked_at=case((last, server_now()), else_=null()),
        next_attempt_at=case((last, null()), else_=server_now()),
        failure=SyncFailure.WORKER_LOST,
        last_error=cause,
        claimed_by=None,
        lease_until=None,
    )


def take_due(session: Session, *, limit: int, again_after: float, retries: int) -> list[SyncTicket]:
    """Take the subclouds that should be synchronised now, fresh requests first; each is handed out once.

    Due are requests that no message was sent for, and failures whose hold-off is over. A taken one becomes due again
    after a while, in case its message is lost.

    Args:
        session: one that may write.
        limit: at most so many.
        again_after: how long a taken one is left alone, in seconds.
        retries: at most so many that failed before are under way at once, so that they cannot take all slots.
    """
    fresh = _take(session, not_(is_retry()), limit, again_after)
    room = min(limit - len(fresh), retries - _retries_under_way(session))
    return fresh + (_take(session, is_retry(), room, again_after) if room > 0 else [])


def _take(session: Session, which: ColumnElement[bool], limit: int, again_after: float) -> list[SyncTicket]:
    taken = (
        select(Subcloud.id)
        .where(_due(), which)
        .order_by(Subcloud.next_attempt_at, Subcloud.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("taken")
    )
    values = {"state": SyncState.REQUESTED, "next_attempt_at": server_now() + again_after}
    rows = session.execute(_set(Subcloud.id.in_(select(taken.c.id)), **values).returning(*TICKET_COLUMNS))
    return sorted(map(SyncTicket.of, rows), key=lambda ticket: (ticket.attempts, ticket.name))


def _retries_under_way(session: Session) -> int:
    handed_out = and_(Subcloud.state == SyncState.REQUESTED, Subcloud.next_attempt_at > server_now())
    running = Subcloud.state == SyncState.IN_PROGRESS
    found = select(func.count()).select_from(Subcloud).where(or_(handed_out, running), is_retry())
    return session.scalars(found).one()


def _due() -> ColumnElement[bool]:
    arrived = or_(Subcloud.next_attempt_at.is_(None), Subcloud.next_attempt_at <= server_now())
    failed = and_(Subcloud.state == SyncState.FAILED, Subcloud.parked_at.is_(None))
    return and_(or_(Subcloud.state == SyncState.REQUESTED, failed), arrived)


# -- a run


def claim(
    session: Session, name: str, generation: int, *, owner: str, lease: float, message: str | None = None
) -> Subcloud | None:
    """Claim a subcloud for one run of its sync; None when it is no longer to be done, or not by us.

    Args:
        session: one that may write.
        name: the subcloud.
        generation: the request that the run belongs to.
        owner: who claims it: no other run, and ends with ``:`` and the id of its message.
        lease: for how long, in seconds; each further transition renews it.
        message: the id of the run's message. Whoever holds the subcloud's lock for it takes over from an earlier run
            of the same message without waiting for the end of a lease: the broker delivers a message again only when
            it knows that run to be dead. Defaults to None: an earlier run's lease must have ended.
    """
    claimed = (
        _set(
            _is_free(name, generation, message),
            state=SyncState.IN_PROGRESS,
            claimed_by=owner,
            lease_until=server_now() + lease,
            attempts=Subcloud.attempts + 1,
            next_attempt_at=None,
        )
        .returning(Subcloud)
        .execution_options(populate_existing=True)
    )
    return session.scalars(claimed).one_or_none()


def is_free(session: Session, name: str, generation: int, *, message: str | None = None) -> bool:
    """Whether a claim would succeed now, for one who holds the lock."""
    return session.scalars(select(Subcloud.id).where(_is_free(name, generation, message))).first() is not None


def _is_free(name: str, generation: int, message: str | None) -> ColumnElement[bool]:
    dead = _lease_is_over() if message is None else or_(_lease_is_over(), _claimed_for(message))
    abandoned = and_(Subcloud.state == SyncState.IN_PROGRESS, dead)
    free = or_(Subcloud.state == SyncState.REQUESTED, abandoned)
    return and_(Subcloud.name == name, Subcloud.generation == generation, free)


def advance(session: Session, claimed: Subcloud, *, step: str, lease: float) -> bool:
    """Record that the subcloud answers and which step comes next; False when the run is no longer to go on."""
    return bool(
        _change(session, _still_ours(claimed), step=step, unreachable=0, lease_until=server_now() + lease),
    )


def renew(session: Session, claimed: Subcloud, *, lease: float) -> bool:
    """Renew the lease in the middle of a step; False when the run is no longer to go on."""
    return bool(_change(session, _still_ours(claimed), lease_until=server_now() + lease))


def complete(session: Session, claimed: Subcloud) -> bool:
    """Record that everything is done and the subcloud enabled; False when it was cancelled or taken over."""
    completed = {
        **_UNCLAIMED,
        "state": SyncState.COMPLETED,
        "step": None,
        "attempts": 0,
        "last_error": None,
        "failure": None,
        "enabled": True,
        "subsequent_sync": True,
        "last_synced_at": server_now(),
    }
    return bool(_change(session, _still_ours(claimed), **completed))


def fail(
    session: Session, claimed: Subcloud, *, error: str, failure: SyncFailure, hold_off: float, max_attempts: int
) -> bool:
    """Record a failure; False when the run was cancelled or taken over.

    The next attempt resumes at the failed step. After the last one there is none: the subcloud is parked.

    Args:
        session: one that may write.
        claimed: the row as it was claimed.
        error: what happened, in words that an operator can act on.
        failure: the kind of that.
        hold_off: how long the subcloud is left alone, in seconds.
        max_attempts: how many there are; 0 never parks.
    """
    last = _is_last(max_attempts)
    return bool(
        _change(
            session,
            _still_ours(claimed),
            state=SyncState.FAILED,
            claimed_by=None,
            lease_until=None,
            next_attempt_at=case((last, null()), else_=server_now() + hold_off),
            parked_at=case((last, server_now()), else_=null()),
            last_error=error,
            failure=failure,
            unreachable=Subcloud.unreachable + (1 if failure in _NOBODY_THERE else 0),
        )
    )


def give_back(session: Session, claimed: Subcloud, *, error: str, failure: SyncFailure, delay: float) -> bool:
    """Put a run off that failed through no fault of the subcloud: it counts as no attempt, and is due after a delay."""
    values = {**_UNCLAIMED, "state": SyncState.REQUESTED, "next_attempt_at": server_now() + delay}
    values |= {"attempts": Subcloud.attempts - 1, "last_error": error, "failure": failure}
    return bool(_change(session, _still_ours(claimed), **values))


def why_lost(session: Session, claimed: Subcloud) -> str:
    """Say why a run is no longer to go on."""
    columns = (Subcloud.generation, Subcloud.managed, Subcloud.online, Subcloud.claimed_by)
    row = session.execute(select(*columns).where(Subcloud.name == claimed.name)).one_or_none()
    if row is None:
        return "deleted"
    if row.generation == claimed.generation:
        return f"taken over by {row.claimed_by}" if row.claimed_by else "taken back, because its lease had ended"
    if not (row.managed and row.online):
        return "cancelled"
    return "cancelled, and requested again"


# -- what operators watch


def standing(session: Session, names: Sequence[str]) -> Iterable[Row[str, int, SyncState, str | None]]:
    """Name, generation, state and kind of the last failure of those of the subclouds that exist."""
    columns = (Subcloud.name, Subcloud.generation, Subcloud.state, Subcloud.failure)
    return session.execute(select(*columns).where(Subcloud.name.in_(names)))


def _is_last(max_attempts: int) -> ColumnElement[bool]:
    return and_(literal(max_attempts) > 0, Subcloud.attempts >= max_attempts)


def _claimed_for(message: str) -> ColumnElement[bool]:
    return Subcloud.claimed_by.endswith(f":{message}"[-LONGEST_OWNER:], autoescape=True)


def _lease_is_over() -> ColumnElement[bool]:
    return Subcloud.lease_until <= server_now()


def _still_ours(claimed: Subcloud) -> ColumnElement[bool]:
    return and_(
        Subcloud.name == claimed.name,
        Subcloud.generation == claimed.generation,
        Subcloud.state == SyncState.IN_PROGRESS,
        Subcloud.claimed_by == claimed.claimed_by,
    )


def _in_order_of_ids(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition, for rows that are locked in the order of their ids, so that two statements cannot deadlock."""
    return Subcloud.id.in_(select(Subcloud.id).where(condition).order_by(Subcloud.id).with_for_update())


def _set(condition: ColumnElement[bool], **values: object):  # type: ignore[no-untyped-def]  # SQLAlchemy's own type says more
    return update(Subcloud).where(condition).values(**values).execution_options(synchronize_session=False)


def _change(session: Session, condition: ColumnElement[bool], **values: object) -> int:
    result = session.execute(_set(condition, **values))
    return int(result.rowcount)  # type: ignore[attr-defined]  # an UPDATE gives a CursorResult
