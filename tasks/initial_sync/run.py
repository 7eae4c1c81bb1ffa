"""The task that brings one subcloud in step with the centre."""

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from celery.utils.log import get_task_logger

from locking import Lock, LockError, ResourceLocked
from tasks.app import SYNCHRONISE, app
from tasks.base import FleetTask
from tasks.drivers import SubcloudDriver, SyncReport, subcloud_drivers
from tasks.errors import FleetringError
from tasks.initial_sync.failures import EXPECTED, NOT_ITS_FAULT, StepOverdue, Unanswered, describe, kind_of
from tasks.initial_sync.hold_off import hold_off_after
from tasks.initial_sync.step_thread import StepThread
from tasks.initial_sync.steps import STEPS, remaining
from tasks.inventory import Subcloud, sync_rows
from tasks.priority import Priority
from tasks.storm import CentreBusy

logger = get_task_logger(__name__)

#: Signs of life in each lease.
SIGNS = 3


class NoLongerOurs(FleetringError):
    """The run is no longer to go on: its subcloud was cancelled, deleted, or taken over."""


# The row says what came of a sync; a result for each of thousands would only fill the broker.
@app.task(base=FleetTask, bind=True, name=SYNCHRONISE, ignore_result=True, throws=(*EXPECTED, LockError))
def synchronise(task: FleetTask, subcloud: str, generation: int) -> dict[str, Any]:
    """Bring one subcloud in step with the centre, under its lock; what happened is returned, and kept in its row."""
    message, settings = str(task.request.id), app.settings
    try:
        lock = app.runtime.locks.acquire(
            f"subcloud:{subcloud}", lease=settings.lock_lease, purpose="initial sync", task=message
        )
    except ResourceLocked as busy:
        return _give_way(task, subcloud, generation, busy)
    with lock:
        # No other run has this fence: not even one of the same message in the same process.
        owner = f"{task.request.hostname}:{os.getpid()}:{lock.fence}:{message}"[-sync_rows.LONGEST_OWNER :]
        with app.runtime.database.session() as session:
            row = sync_rows.claim(
                session, subcloud, generation, owner=owner, lease=settings.sync_lease, message=message
            )
        if row is None:
            logger.info("initial sync of %s in generation %d is no longer required", subcloud, generation)
            return {"outcome": "no longer required"}
        return _Run(row, lock).outcome()


def _give_way(task: FleetTask, subcloud: str, generation: int, busy: ResourceLocked) -> dict[str, Any]:
    """Come again where the holder of the lock does something else: an older request that was cancelled, for one.

    So does a message that outlived the run which holds the lock. Either had its turn already, so it comes in front.
    """
    with app.runtime.database.reading() as session:
        free = sync_rows.is_free(session, subcloud, generation, message=str(task.request.id))
    if free:
        logger.info("initial sync of %s waits: %s", subcloud, busy)
        fresh = task.current_priority <= Priority.NORMAL
        task.defer(priority=Priority.HIGH if fresh else None, reason=busy)
    logger.info("initial sync of %s is left to the holder of its lock: %s", subcloud, busy)
    return {"outcome": "left to the holder of its lock"}


class _Run:
    """One run of a claimed sync.

    Args:
        row: the subcloud as it was claimed.
        lock: that on the subcloud.
    """

    def __init__(self, row: Subcloud, lock: Lock) -> None:
        self._row = row
        self._lock = lock
        self._settings = app.settings
        self._thread = StepThread(f"sync {row.name}")

    def outcome(self) -> dict[str, Any]:
        """Do what is left to do, and say what came of it.

        Raises:
            LockError: the lock was lost. Whoever took it over goes on with the row; to write a failure now would be
                to cancel their work.
            Exception: what a step raised; it is in the row, too.
        """
        try:
            done = self._take_steps()
        except NoLongerOurs as lost:
            logger.info("initial sync of %s ends: %s", self._row.name, lost)
            return {"outcome": "ended", "because": str(lost)}
        except LockError:
            raise
        except NOT_ITS_FAULT as unavailable:
            return self._put_off(unavailable)
        except Exception as error:
            self._fail(error)
            raise
        finally:
            self._thread.end()
        return {"outcome": "completed", **done}

    def _take_steps(self) -> dict[str, Any]:
        driver = self._thread.open(self._make_driver, suspect=self._row.attempts > 1 or self._row.unreachable > 0)
        seconds = self._settings.sync_probe_timeout
        self._call(driver.probe, seconds, Unanswered(self._row.name, seconds))
        done: dict[str, Any] = {}
        for step in remaining(self._row):
            with app.runtime.database.session() as session:
                advanced = sync_rows.advance(session, self._row, step=step, lease=self._settings.sync_lease)
            self._insist(advanced)
            done[step] = self._take(step, driver)
        with app.runtime.database.session() as session:
            completed = sync_rows.complete(session, self._row)
        self._insist(completed)
        return done

    def _take(self, step: str, driver: SubcloudDriver) -> Any:
        seconds = self._settings.sync_step_timeout
        report = self._call(lambda: STEPS[step].run(driver), seconds, StepOverdue(self._row.name, step, seconds))
        return asdict(report) if isinstance(report, SyncReport) else "done"

    def _call(self, function: Callable[[], object], timeout: float, overdue: Exception) -> object:
        every = self._settings.sync_lease / SIGNS
        return self._thread.call(function, timeout=timeout, overdue=overdue, every=every, sign=self._give_sign)

    def _give_sign(self) -> None:
        """Say that this run is alive, and see whether it is to go on."""
        self._lock.ensure()
        with app.runtime.database.session() as session:
            ours = sync_rows.renew(session, self._row, lease=self._settings.sync_lease)
        self._insist(ours)

    def _insist(self, still_ours: bool) -> None:
        if not still_ours:
            with app.runtime.database.reading() as session:
                raise NoLongerOurs(sync_rows.why_lost(session, self._row))

    def _make_driver(self) -> SubcloudDriver:
        make = subcloud_drivers.load(self._row.driver, self._row.name)
        runtime = app.runtime
        return make(self._row.name, self._row.driver_info, runtime.centre, runtime.credentials, guard=self._guard)

    def _guard(self) -> None:
        self._thread.check()
        self._lock.ensure()

    def _put_off(self, unavailable: Exception) -> dict[str, Any]:
        # A gate that is busy says when; a centre that is down is asked again at the pace of a first failure.
        known = unavailable.retry_after if isinstance(unavailable, CentreBusy) else None
        delay = hold_off_after(1, self._settings) if known is None else known
        logger.warning("initial sync of %s is put off for %.0f s: %s", self._row.name, delay, unavailable)
        with app.runtime.database.session() as session:
            sync_rows.give_back(
                session, self._row, error=describe(unavailable), failure=kind_of(unavailable), delay=delay
            )
        return {"outcome": "put off", "because": str(unavailable)}

    def _fail(self, error: Exception) -> None:
        row, settings = self._row, self._settings
        hold_off = hold_off_after(row.attempts, settings)
        with app.runtime.database.session() as session:
            sync_rows.fail(
                session,
                row,
                error=describe(error),
                failure=kind_of(error),
                hold_off=hold_off,
                max_attempts=settings.sync_max_attempts,
            )
        if 0 < settings.sync_max_attempts <= row.attempts:
            logger.error("initial sync of %s is given up after %d attempts: %s", row.name, row.attempts, error)
        else:
            logger.warning("initial sync of %s failed, next attempt in %.0f s: %s", row.name, hold_off, error)
