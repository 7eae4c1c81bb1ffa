"""Periodic tasks: how they are declared, and the beat that sends them through redbeat."""

from collections.abc import Callable
from math import isfinite
from typing import Any

from celery.schedules import schedule
from redbeat import RedBeatScheduler, RedBeatSchedulerEntry

from tasks.app import PERIODIC_QUEUE, app
from tasks.base import FleetTask
from tasks.errors import InvalidPeriodicTask


class PeriodicTask(FleetTask):
    """A task that beat sends every so often."""

    abstract = True
    ignore_result = True
    spacing: float = 0.0
    run_immediately: bool = False
    enabled: bool = True


def periodic_task(
    *, spacing: float, run_immediately: bool = False, enabled: bool = True
) -> Callable[[Callable[[], Any]], PeriodicTask]:
    """Make a function a periodic task of the whole deployment: however many beats run, one tick runs once.

    Args:
        spacing: seconds from one run to the next, above 0.
        run_immediately: run as soon as a beat first knows it, instead of one spacing later. Defaults to False.
        enabled: False keeps it out of the schedule. Defaults to True.

    Raises:
        InvalidPeriodicTask: the spacing is not a number above 0.
    """

    def declare(function: Callable[[], Any]) -> PeriodicTask:
        if not (isfinite(spacing) and spacing > 0):
            raise InvalidPeriodicTask(f"periodic task {function.__name__} needs a spacing above 0 s, got {spacing}")
        make = app.task(base=PeriodicTask, spacing=float(spacing), run_immediately=run_immediately, enabled=enabled)
        return make(function)

    return declare


class FleetScheduler(RedBeatScheduler):  # type: ignore[misc]  # redbeat is published without types
    """redbeat's scheduler, whose schedule is every enabled periodic task of the application."""

    def setup_schedule(self) -> None:
        """Install the declared tasks; redbeat removes those that are no longer declared."""
        declared = [task for task in self.app.tasks.values() if isinstance(task, PeriodicTask) and task.enabled]
        self.app.redbeat_conf.schedule = {task.name: self._entry(task) for task in declared}
        super().setup_schedule()

    def _entry(self, task: PeriodicTask) -> RedBeatSchedulerEntry:
        entry = RedBeatSchedulerEntry(
            name=task.name,
            task=task.name,
            schedule=schedule(task.spacing, app=self.app),
            # A tick that waited for longer than the spacing is stale: the next one does its work.
            options={"queue": PERIODIC_QUEUE, "expires": task.spacing},
            app=self.app,
        )
        if task.run_immediately:
            # redbeat takes "never ran" for "due now", and keeps the time of a run that it knows.
            entry.last_run_at = None
        return entry
