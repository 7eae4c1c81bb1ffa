"""When each subcloud that follows the centre is audited next, and what was found; written when that changes.

Nothing is marked as being audited, so nothing can be stuck: the lock on the subcloud keeps two audits, or an audit and
a sync, apart, and an audit whose worker died comes round again. All times are the database's clock, in epoch seconds.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, and_, func, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from locking import server_now
from tasks.inventory.models import Audit, AuditState, Subcloud, SyncState

#: What was found is written again after so many seconds, though it has not changed: it shows that somebody looked.
REFRESH = 3600.0

#: First audits are spread over the interval in so many steps.
_PHASES = 1000


def take_due(session: Session, *, limit: int, interval: float) -> list[str]:
    """Take the subclouds whose audit is due, by name, those that wait longest first; each is handed out once.

    Args:
        session: one that may write.
        limit: at most so many.
        interval: how long it takes until a taken one is due again, in seconds.
    """
    _add_missing(session, interval)
    due = (
        select(Audit.subcloud_id, Subcloud.name)
        .join(Subcloud, Subcloud.id == Audit.subcloud_id)
        .where(_follows(), Audit.next_at <= server_now())
        .order_by(Audit.next_at, Audit.subcloud_id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Audit)
    )
    taken = session.execute(due).all()
    if taken:
        _write(session, Audit.subcloud_id.in_([row.subcloud_id for row in taken]), next_at=server_now() + interval)
    return [row.name for row in taken]


def expedite(session: Session, names: Collection[str] | None = None) -> int:
    """Make the audit of these subclouds due, or of all that follow the centre; returns how many there are.

    Args:
        session: one that may write.
        names: which subclouds. Defaults to all.
    """
    _add_missing(session, 0.0)
    chosen = select(Subcloud.id).where(_follows())
    if names is not None:
        chosen = chosen.where(Subcloud.name.in_(names))
    return _write(session, Audit.subcloud_id.in_(chosen), next_at=server_now())


def following(session: Session, name: str) -> Subcloud | None:
    """The subcloud, if it is one that follows the centre now: synchronised, managed and online; else None."""
    return session.scalars(select(Subcloud).where(Subcloud.name == name, _follows())).first()


def record(
    session: Session, subcloud: Subcloud, *, state: AuditState, tables: str, error: str | None, keys: str | None
) -> bool:
    """Write what was found, if it is news; say whether it was written.

    Args:
        session: one that may write.
        subcloud: the one that was looked at.
        state: what was found.
        tables: those that differ, or that differed before they were repaired; nothing leaves what is known.
        error: why it could not be audited or repaired.
        keys: which of the centre's keys it has; None leaves what is known.
    """
    found = {"state": state, "error": error} | ({"tables": tables} if tables else {}) | ({"keys": keys} if keys else {})
    news = or_(
        Audit.audited_at.is_(None),
        Audit.audited_at <= server_now() - REFRESH,
        *(getattr(Audit, column).is_distinct_from(value) for column, value in found.items()),
    )
    return bool(_write(session, and_(Audit.subcloud_id == subcloud.id, news), **found, audited_at=server_now()))


def list_(session: Session, *, states: Collection[AuditState] | None = None) -> Sequence[tuple[Subcloud, Audit]]:
    """Every subcloud that was found out about, with what was found, in the order of their names.

    Args:
        session: an open session.
        states: only those in one of these states. Defaults to all.
    """
    query = select(Subcloud, Audit).join(Audit, Subcloud.id == Audit.subcloud_id).order_by(Subcloud.name)
    if states is not None:
        query = query.where(Audit.state.in_(states))
    return [(subcloud, audit) for subcloud, audit in session.execute(query)]


def drivers_that_follow(session: Session) -> Sequence[str]:
    """The drivers of all subclouds that follow the centre, sorted."""
    return session.scalars(select(Subcloud.driver).where(_follows()).distinct().order_by(Subcloud.driver)).all()


def without_keys(session: Session, driver: str, keys: str) -> Sequence[str]:
    """The subclouds of a driver that follow the centre and were not found to have these keys, by name, sorted."""
    query = (
        select(Subcloud.name)
        .outerjoin(Audit, Audit.subcloud_id == Subcloud.id)
        .where(_follows(), Subcloud.driver == driver, Audit.keys.is_distinct_from(keys))
        .order_by(Subcloud.name)
    )
    return session.scalars(query).all()


def _follows() -> ColumnElement[bool]:
    return and_(Subcloud.managed, Subcloud.online, Subcloud.enabled, Subcloud.state == SyncState.COMPLETED)


def _add_missing(session: Session, interval: float) -> None:
    """Give every subcloud that follows the centre its row; the first audits are spread over the interval."""
    phase = func.mod(Subcloud.id, _PHASES) * (interval / _PHASES)
    known = select(Audit.subcloud_id).where(Audit.subcloud_id == Subcloud.id).exists()
    missing = select(
        Subcloud.id, literal(AuditState.UNKNOWN, Audit.state.type), literal(""), server_now() + phase
    ).where(_follows(), ~known)
    session.execute(insert(Audit).from_select(["subcloud_id", "state", "tables", "next_at"], missing))


def _write(session: Session, condition: ColumnElement[bool], **values: object) -> int:
    changed = update(Audit).where(condition).values(**values).execution_options(synchronize_session=False)
    return int(session.execute(changed).rowcount)  # type: ignore[attr-defined]  # an UPDATE gives a CursorResult
