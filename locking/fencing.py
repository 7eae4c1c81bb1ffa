"""Writing through the fence: an UPDATE that a holder who lost its lock can't do."""

from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, Update, event, func, literal, select, true

from locking.errors import ExclusiveLockRequired, InvalidRequest, LockLost
from locking.lock import Lock
from locking.modes import LockMode

_OPTION = "locking_fence"


def fenced(statement: Update, lock: Lock, column: str = "fence") -> Update:
    """`statement` so that it writes only rows that no later grant has written, and raises otherwise.

    The table's integer column `column` (defaults to "fence") takes the fence of an exclusive lock; sharers leave it
    as it is, since they may all write, but none of them after a later exclusive holder. When `session.execute` or
    `connection.execute` runs the result, rows that the statement matches but that carry a larger fence stay as they
    are, and `LockLost` is raised if there is even one, whether other rows were changed or not: roll the transaction
    back. A statement that matches no row at all changes nothing and raises nothing. Costs one more SELECT.

    The raising is done by an `after_execute` listener on SQLAlchemy's engines, put in place by the first call.

    Raises:
        LockLost: At once if the lock is known to be lost or released; at the execution as told above.
        ExclusiveLockRequired: The lock only observes, so it has no fence.
        InvalidRequest: The table has no such column.
    """
    lock.ensure()
    if not lock.fence:
        raise ExclusiveLockRequired(f"{lock!r} only observes: it has no fence to write through")
    fences = statement.table.c.get(column)
    if fences is None:
        raise InvalidRequest(f"{statement.table} has no column {column!r} to keep the fence in")
    _listen()
    matched = true() if statement.whereclause is None else statement.whereclause
    later = select(literal(1)).select_from(statement.table).where(matched, fences > lock.fence).limit(1)
    return (
        statement.where(func.coalesce(fences, 0) <= lock.fence)
        .values({} if lock.mode is LockMode.SHARED else {column: lock.fence})
        .execution_options(**{_OPTION: (later, repr(lock))})
    )


@cache
def _listen() -> None:
    event.listen(Engine, "after_execute", _raise_if_late)


def _raise_if_late(connection: Connection, *heard: Any) -> None:
    _, _, _, options, _ = heard  # statement, parameters twice, execution options, result
    later, lock = options.get(_OPTION, (None, ""))
    if later is not None and connection.execute(later).first() is not None:
        raise LockLost(f"a later grant has written already: {lock} came too late")
