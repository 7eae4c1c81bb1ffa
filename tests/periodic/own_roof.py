"""What workers run on their own in the tests, in processes of their own: ``celery -A tests.periodic.own_roof:app``."""

import json
import os
import time

from celery import current_task
from redbeat.schedulers import get_redis

from tasks.app import app
from tasks.periodic import periodic_task

app.conf.include = ()

ITEMS = [f"node-{number}" for number in range(200)]


def _journal(name: str, **more: object) -> None:
    request = current_task.request
    entry = {"worker": request.hostname, "headers": dict(request.headers or {}), "at": time.time(), **more}
    get_redis(app).rpush(name, json.dumps(entry))


@periodic_task(spacing=1, scope="each_worker", run_immediately=True, name="pulse")
def pulse() -> None:
    """Say that this worker lives."""
    _journal("pulse")


@periodic_task(spacing=1, scope="partitioned", of=lambda: ITEMS, jitter=0, name="survey")
def survey(share: list[str]) -> None:
    """Look at this worker's share."""
    _journal("survey", share=list(share))


@periodic_task(spacing=3600, scope="each_worker", run_immediately=True, name="failing")
def failing() -> None:
    """Fail."""
    raise ValueError(f"no broom in {os.getpid()}")


@periodic_task(spacing=3600, scope="each_worker", name="rare")
def rare() -> None:
    """Run by hand only, for a test."""
    _journal("rare")
