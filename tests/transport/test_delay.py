"""Tasks with a countdown, an ETA or an expiry wait in the broker, not in a worker."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import TaskRevokedError

from tasks.transport import envelope

pytestmark = pytest.mark.system

Wait = Callable[..., Any]
Start = Callable[..., Any]


def test_a_delayed_task_waits_in_the_broker_and_starts_when_due(
    app: Celery, client: redis.Redis, start_worker: Start, journal: Callable[..., list[str]]
) -> None:
    # Given a worker, and tasks delayed in each way
    start_worker("-c2", heartbeat=0.6)
    sent = time.monotonic()
    counted = app.send_task("record", countdown=1.5)
    dated = app.send_task("record", eta=datetime.now(timezone(timedelta(hours=5))) + timedelta(seconds=1.5))

    # When they wait
    time.sleep(0.7)

    # Then no worker has them
    assert client.zcard("fleetring:q:actions:delayed") == 2
    assert app.control.inspect(timeout=1).scheduled() == {"w0@test": []}

    # And they start when they are due, not a heartbeat later
    counted.get(timeout=60)
    dated.get(timeout=60)
    assert 1.45 <= time.monotonic() - sent < 2.0
    assert sorted(journal()) == sorted([counted.id, dated.id])


def test_a_delayed_task_keeps_its_priority_when_due(
    app: Celery, start_worker: Start, wait_until: Wait, journal: Callable[..., list[str]]
) -> None:
    # Given an urgent delayed task and others that wait
    urgent = app.send_task("record", countdown=0.3, priority=-20)
    others = [app.send_task("record").id for _ in range(3)]
    time.sleep(0.4)

    # When a worker comes after it is due
    start_worker("-c1")
    wait_until(lambda: len(journal()) == 4)

    # Then it is first
    assert journal() == [urgent.id, *others]


def test_delays_survive_the_worker(app: Celery, start_worker: Start, journal: Callable[..., list[str]]) -> None:
    # Given a delayed task and the only worker killed
    worker = start_worker("-c1")
    task = app.send_task("record", countdown=1)
    worker.kill()

    # When another one starts
    start_worker("-c1")

    # Then the task runs once
    task.get(timeout=60)
    assert journal() == [task.id]


@pytest.mark.parametrize("countdown", [None, 30])
def test_an_expired_task_is_revoked_instead_of_run(
    app: Celery, client: redis.Redis, start_worker: Start, journal: Callable[..., list[str]], countdown: float | None
) -> None:
    # Given a task that expires before a worker takes it, or before it is due
    task = app.send_task("record", expires=0.5, countdown=countdown)
    time.sleep(0.6)

    # When a worker comes
    start_worker("-c1")

    # Then it records that the task is revoked
    with pytest.raises(TaskRevokedError):
        task.get(timeout=60)
    assert journal() == []


def test_a_client_with_a_wrong_clock_delays_by_the_time_that_it_means(
    app: Celery, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a producer whose clock is a day ahead
    ahead = datetime.now(UTC) + timedelta(days=1)

    class WrongClock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return ahead

    monkeypatch.setattr(envelope, "datetime", WrongClock)

    # When it sends a task that is due in ten seconds by that clock
    app.send_task("record", eta=ahead + timedelta(seconds=10))

    # Then the broker holds it for ten seconds
    due = client.zrange("fleetring:q:actions:delayed", 0, 0, withscores=True)[0][1] / 1e6
    assert due - time.time() == pytest.approx(10, abs=1)
