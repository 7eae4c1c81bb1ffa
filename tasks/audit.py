"""Audits: whether the rows of subclouds are still the centre's; what differs is repaired, and nothing else is touched.

An audit takes the lock on its subcloud, so that it never looks at one that is being synchronised.
"""

from collections.abc import Callable, Collection
from typing import Any

from celery.utils.log import get_task_logger

from locking import LockError, ResourceLocked
from tasks.app import AUDIT, app
from tasks.base import FleetTask
from tasks.drivers import SubcloudDriver, subcloud_drivers
from tasks.inventory import AuditState, Subcloud, audit_rows
from tasks.priority import Priority

logger = get_task_logger(__name__)

#: How many due audits one dispatch hands out.
DISPATCH_LIMIT = 1000


def dispatch(*, delay: float = 0.0) -> int:
    """Send every audit that is due, behind all other work, and return how many there were.

    Args:
        delay: seconds before which none of them begins. Defaults to 0.
    """
    interval = app.settings.audit_interval
    with app.runtime.database.session() as session:
        due = audit_rows.take_due(session, limit=DISPATCH_LIMIT, interval=interval)
    for name in due:
        # The id belongs to the subcloud, so a message that still waits is replaced, not joined by another.
        compare.apply_async(
            (name,), task_id=f"audit.{name}", priority=Priority.IDLE, countdown=delay or None, expires=interval + delay
        )
    return len(due)


def request(names: Collection[str] | None = None, *, delay: float = 0.0) -> int:
    """Send the audits of subclouds now, and return how many of them follow the centre.

    Args:
        names: which. Defaults to all.
        delay: seconds before which none of them begins. Defaults to 0.
    """
    with app.runtime.database.session() as session:
        count = audit_rows.expedite(session, names)
    while dispatch(delay=delay) == DISPATCH_LIMIT:
        pass
    return count


@app.task(base=FleetTask, bind=True, name=AUDIT, ignore_result=True)
def compare(task: FleetTask, subcloud: str) -> dict[str, Any]:
    """Compare one subcloud with the centre, under its lock, and repair what differs."""
    try:
        lock = app.runtime.locks.acquire(
            f"subcloud:{subcloud}", lease=app.settings.lock_lease, purpose="audit", task=task.request.id
        )
    except ResourceLocked as busy:
        logger.info("the audit of %s is left out, somebody works on it: %s", subcloud, busy)
        return {"outcome": "left out, somebody works on it"}
    with lock:
        row = _following(subcloud)
        return _audit(row, lock.ensure) if row else {"outcome": "no longer required"}


def _following(name: str) -> Subcloud | None:
    with app.runtime.database.reading() as session:
        return audit_rows.following(session, name)


def _audit(row: Subcloud, ensure: Callable[[], object]) -> dict[str, Any]:
    try:
        make = subcloud_drivers.load(row.driver)
        with make(row.name, row.driver_info, app.runtime.centre, app.runtime.credentials, guard=ensure) as driver:
            return _compare(row, driver)
    except LockError:
        # Whoever took the lock over says what there is to say of the subcloud.
        raise
    except Exception as error:
        logger.warning("audit of %s failed: %s", row.name, error)
        _record(row, AuditState.FAILED, error=str(error))
        raise


def _compare(row: Subcloud, driver: SubcloudDriver) -> dict[str, Any]:
    wanted, found = driver.central_digest(app.runtime.centre), driver.digest()
    differing = sorted(table for table in wanted if found.get(table) != wanted[table])
    repaired = 0
    if differing:
        logger.warning("%s differs from the centre in %s", row.name, ", ".join(differing))
        _record(row, AuditState.OUT_OF_SYNC, tables=", ".join(differing))
        if _following(row.name) is None:
            return {"outcome": "no longer required", "differing": differing}
        repaired = driver.repair(differing).total
    _record(row, AuditState.IN_SYNC, keys=driver.keys_of(wanted))
    return {"outcome": AuditState.IN_SYNC.value, "differing": differing, "repaired_rows": repaired}


def _record(
    row: Subcloud, state: AuditState, *, tables: str = "", error: str | None = None, keys: str | None = None
) -> None:
    with app.runtime.database.session() as session:
        audit_rows.record(session, row, state=state, tables=tables, error=error, keys=keys)
