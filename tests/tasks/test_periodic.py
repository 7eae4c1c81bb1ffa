import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tasks import app
from tasks.errors import InvalidPeriodicTask
from tasks.periodic import FleetScheduler, periodic_task

SCHEDULE = "redbeat::schedule"


@pytest.fixture
def redis_client(fleet: Any, valkey_url: str) -> Iterator[Redis]:
    """The Redis that redbeat keeps the schedule in."""
    app.loader.import_default_modules()
    with Redis.from_url(valkey_url, decode_responses=True) as client:
        yield client


def due(client: Redis) -> dict[str, float]:
    """When each entry is due, in epoch seconds, by the short name of its task."""
    return {key.rpartition(".")[2]: score for key, score in client.zrange(SCHEDULE, 0, -1, withscores=True)}


def test_beat_installs_every_declared_task_and_runs_at_once_only_what_asks_for_it(redis_client: Redis) -> None:
    # When a beat sets up its schedule
    FleetScheduler(app)
    entries = due(redis_client)

    # Then both tasks of the system are there: one due now, the other a spacing from now
    assert entries["dispatch_initial_syncs"] <= time.time() + 1
    assert 50 < entries["sync_power_states"] - time.time() <= 61


def test_a_tick_that_waits_for_longer_than_its_spacing_expires(redis_client: Redis) -> None:
    scheduler = FleetScheduler(app)
    entry = scheduler.Entry.from_key("redbeat:beat_schedule.dispatch_initial_syncs", app=app)
    assert entry.options == {"queue": "periodic", "expires": 10.0}


def test_a_task_that_is_disabled_or_no_longer_declared_leaves_the_schedule(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    FleetScheduler(app)
    monkeypatch.setattr(type(app.tasks["beat_schedule.sync_power_states"]), "enabled", False)
    FleetScheduler(app)
    assert set(due(redis_client)) == {"dispatch_initial_syncs"}


@pytest.mark.parametrize("spacing", [0, -1, float("nan"), float("inf")])
def test_a_spacing_that_cannot_work_is_refused_at_the_declaration(spacing: float) -> None:
    with pytest.raises(InvalidPeriodicTask, match="tidy needs a spacing above 0"):

        @periodic_task(spacing=spacing)
        def tidy() -> None:
            """Never declared."""


def test_a_due_tick_is_sent_to_the_periodic_queue(redis_client: Redis, queued: Any) -> None:
    # Given a beat that leads, with one task due now
    scheduler = FleetScheduler(app, lock_key=None)
    scheduler.lock_key = None

    # When it ticks
    scheduler.tick()
    scheduler.close()

    # Then its message waits in the periodic queue
    assert queued() == {"periodic": 1}
