"""Initial sync of subclouds: the steps, the task that runs them, and the dispatch of what is due.

The subcloud's row decides and messages only remind: a message that finds its row claimed, cancelled or of another
generation does nothing (see ``tasks.inventory.sync_rows`` for the states).
"""

import os
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from celery.utils.log import get_task_logger

from locking import LockError, ResourceLocked
from tasks.app import SYNCHRONISE, app
from tasks.base import FleetTask
from tasks.drivers import SubcloudDriver, SyncReport, subcloud_drivers
from tasks.inventory import Subcloud, SyncTicket, sync_rows
from tasks.priority import Priority
from tasks.settings import Settings

logger = get_task_logger(__name__)

#: The steps in their order: old tokens may be revoked only after the ids have changed, so keys follow identity.
STEPS: dict[str, Callable[[SubcloudDriver], object]] = {
    "identity": lambda driver: driver.sync_identity(),
    "keys": lambda driver: driver.distribute_keys(),
    "audit-reset": lambda driver: driver.reset_audit(),
    "enable": lambda driver: driver.enable(),
}

#: How many due subclouds one dispatch hands out.
DISPATCH_LIMIT = 1000
#: A dispatched subcloud that nobody claimed is dispatched again after this many seconds: its message was lost.
DISPATCH_AGAIN = 120.0


def update_state(name: str, *, managed: bool | None = None, online: bool | None = None) -> bool:
    """Record whether a subcloud is managed and online, and send its initial sync at once where that requests one.

    Args:
        name: the subcloud.
        managed: whether it is managed. Defaults to what it is.
        online: whether it is online. Defaults to what it is.

    Returns:
        Whether an initial sync was requested.

    Raises:
        UnknownSubcloud: it is not in the inventory.
    """
    with app.runtime.database.session() as session:
        ticket = sync_rows.update_state(session, name, managed=managed, online=online)
        if ticket:
            sync_rows.postpone(session, ticket, by=DISPATCH_AGAIN)
    _send([ticket] if ticket else [])
    return ticket is not None


def dispatch() -> int:
    """Send every initial sync that is due and return how many there were; a safety net under ``update_state``."""
    with app.runtime.database.session() as session:
        due = sync_rows.take_due(session, limit=DISPATCH_LIMIT, again_after=DISPATCH_AGAIN)
    _send(due)
    return len(due)


def _send(tickets: Iterable[SyncTicket]) -> None:
    for ticket in tickets:
        # Fresh requests go before retries, so that dead subclouds never delay new ones.
        priority = Priority.LOW if ticket.attempts else Priority.NORMAL
        synchronise.apply_async((ticket.name, ticket.generation), priority=priority)


@app.task(base=FleetTask, bind=True, name=SYNCHRONISE)
def synchronise(task: FleetTask, subcloud: str, generation: int) -> dict[str, Any]:
    """Bring one subcloud in step with the centre, under its lock; what happened is returned, and kept in its row."""
    try:
        lock = app.runtime.locks.acquire(
            f"subcloud:{subcloud}", lease=app.settings.lock_lease, purpose="initial sync", task=task.request.id
        )
    except ResourceLocked as busy:
        logger.info("initial sync of %s is left to the holder of its lock: %s", subcloud, busy)
        return {"outcome": "left to the holder of its lock"}
    with lock:
        with app.runtime.database.session() as session:
            row = sync_rows.claim(session, subcloud, generation, owner=_me(task), lease=app.settings.sync_lease)
        if row is None:
            logger.info("initial sync of %s in generation %d is no longer required", subcloud, generation)
            return {"outcome": "no longer required"}
        return _run_steps(row, lock.ensure)


def _me(task: FleetTask) -> str:
    """Who claims the row: this run, and no other run of the same task."""
    return f"{task.request.hostname}:{os.getpid()}:{task.request.id}"


def _run_steps(row: Subcloud, ensure: Callable[[], object]) -> dict[str, Any]:
    done: dict[str, Any] = {}
    try:
        with _driver_of(row, ensure) as driver:
            for step in _remaining(row):
                if not _advance(row, step):
                    return {"outcome": "cancelled", "before": step}
                done[step] = _describe(STEPS[step](driver))
    except LockError:
        # Whoever took the lock over goes on with the row; to write a failure now would be to cancel their work.
        raise
    except Exception as error:
        _fail(row, error)
        raise
    with app.runtime.database.session() as session:
        completed = sync_rows.complete(session, row)
    return {"outcome": "completed", **done} if completed else {"outcome": "cancelled", "before": "completion"}


def _driver_of(row: Subcloud, ensure: Callable[[], object]) -> SubcloudDriver:
    make = subcloud_drivers.load(row.driver)
    return make(row.name, row.driver_info, app.settings.identity_url, app.runtime.credentials, guard=ensure)


def _remaining(row: Subcloud) -> Iterable[str]:
    """The steps from the row's cursor on: a retry resumes where the last attempt failed."""
    names = list(STEPS)
    return names[names.index(row.step) :] if row.step in STEPS else names


def _advance(row: Subcloud, step: str) -> bool:
    with app.runtime.database.session() as session:
        return sync_rows.advance(session, row, step=step, lease=app.settings.sync_lease)


def _describe(report: object) -> Any:
    return asdict(report) if isinstance(report, SyncReport) else "done"


def _fail(row: Subcloud, error: Exception) -> None:
    hold_off = hold_off_after(row.attempts, app.settings)
    logger.warning("initial sync of %s failed, next attempt in %.0f s: %s", row.name, hold_off, error)
    with app.runtime.database.session() as session:
        sync_rows.fail(session, row, error=str(error), hold_off=hold_off)


def hold_off_after(attempts: int, settings: Settings) -> float:
    """Return how long to leave a subcloud alone after a failure, in seconds.

    The bound doubles with each attempt up to a cap, and the wait is drawn from its upper half, so that subclouds that
    failed together don't come back together.

    Args:
        attempts: how many there were, at least 1.
        settings: those with the first hold-off and the cap.
    """
    bound = min(settings.sync_hold_off_cap, settings.sync_hold_off * 2.0 ** min(attempts - 1, 32))
    return random.uniform(bound / 2, bound)  # noqa: S311 - spreads load, guards nothing
