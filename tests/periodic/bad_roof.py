"""Periodic tasks that no deployment should have: ``celery -A tests.periodic.bad_roof:app``."""

import os
import signal
import time

from redbeat.schedulers import get_redis

from tasks.app import app
from tasks.periodic import periodic_task

app.conf.include = ()


@periodic_task(spacing=5, run_immediately=True, jitter=0, timeout=1, name="hanger")
def hanger() -> None:
    """Hang."""
    time.sleep(3600)


@periodic_task(spacing=2, run_immediately=True, jitter=0, name="suicide")
def suicide() -> None:
    """Kill the process that it runs in."""
    os.kill(os.getpid(), signal.SIGKILL)


@periodic_task(spacing=2, run_immediately=True, jitter=0, name="leaver")
def leaver() -> None:
    """Try to end the process that it runs in."""
    raise SystemExit(3)


@periodic_task(spacing=2, run_immediately=True, jitter=0, name="misfit", enabled=lambda: 1 / 0 > 0)
def misfit() -> None:
    """Never run, for nobody can tell whether it is to."""


@periodic_task(spacing=1, run_immediately=True, jitter=0, name="good")
def good() -> None:
    """Say that it ran."""
    get_redis(app).rpush("good", time.time())
