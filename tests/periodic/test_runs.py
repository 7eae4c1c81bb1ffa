"""What a worker makes of a tick: under the task's lock, once, and on the record."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import Reject, Retry, WorkerShutdown

from locking import LockManager
from tasks import app
from tasks.errors import PeriodicTaskExited
from tasks.periodic import PeriodicTask
from tasks.ticks import Tick
from tests.periodic.lab import Lab


def run(task: PeriodicTask, slot: int | None = None, lag: float = 0.0) -> Any:
    """Run a task as a worker does, for a tick or by hand."""
    headers = {"tick": str(Tick(slot, time.time() - lag))} if slot else None
    task.push_request(id="run", called_directly=False, is_eager=False, headers=headers, retries=0, delivery_info={})
    try:
        return task()
    finally:
        task.pop_request()


@pytest.fixture
def runs(lab: Lab) -> list[str]:
    """What the body of the task ``tidy`` was called for; three of its ticks have been claimed."""
    found: list[str] = []

    def tidy() -> None:
        found.append("ran")

    lab.declare("tidy", body=tidy)
    lab.beat().tick()
    lab.client.hset("redbeat:tidy", "slot", 3)
    return found


def test_a_run_is_recorded_with_its_lag_and_its_duration(lab: Lab) -> None:
    # Given a tick that was due two seconds ago
    def tidy() -> None:
        time.sleep(0.05)

    lab.declare("tidy", body=tidy)
    lab.beat().tick()

    # When it runs
    run(app.tasks["tidy"], 1, lag=2)

    # Then that is on the record
    record = lab.record()
    assert record.lag == pytest.approx(2, abs=0.5)
    assert record.duration == pytest.approx(0.05, abs=0.1)
    assert (record.runs, record.failures, record.last_error, record.running) == (1, 0, None, False)


def test_a_tick_covers_those_that_were_claimed_before_it_began(lab: Lab, runs: list[str]) -> None:
    # When a worker comes to three ticks that waited, the first of them twice
    for slot in (1, 1, 2, 3):
        run(app.tasks["tidy"], slot)

    # Then they are one run; the tick that is claimed afterwards is another
    assert runs == ["ran"]
    lab.client.hset("redbeat:tidy", "slot", 4)
    run(app.tasks["tidy"], 4)
    assert runs == ["ran"] * 2


def test_a_run_by_hand_covers_no_tick(runs: list[str]) -> None:
    run(app.tasks["tidy"])
    run(app.tasks["tidy"], 1)
    assert runs == ["ran"] * 2


def test_a_tick_is_skipped_while_the_run_before_it_is_alive(
    lab: Lab, runs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with LockManager.from_url(app.settings.lock_url).acquire("periodic:tidy", purpose="a slow run"):
        run(app.tasks["tidy"], 3)
    assert runs == []
    assert lab.record().overlapped == 1
    assert "Skipping a run of periodic task tidy, the one before is alive" in caplog.text


def test_a_tick_that_may_queue_goes_back_into_its_queue_meanwhile(lab: Lab) -> None:
    lab.declare("tidy", overlap="queue")
    lab.beat().tick()
    with LockManager.from_url(app.settings.lock_url).acquire("periodic:tidy"), pytest.raises((Retry, Reject)):
        run(app.tasks["tidy"], 1)
    assert lab.record().overlapped == 0
    [message] = lab.client.hvals("fleetring:q:periodic:tasks")
    assert '"tick": "1 ' in message


@pytest.mark.parametrize(
    ("raised", "seen", "recorded"),
    [
        (ValueError("no broom"), ValueError, "ValueError: no broom"),
        (SystemExit(3), PeriodicTaskExited, "SystemExit: 3"),
        (KeyboardInterrupt(), PeriodicTaskExited, "KeyboardInterrupt"),
        (WorkerShutdown(0), WorkerShutdown, "WorkerShutdown"),
    ],
)
def test_what_a_body_raises_is_recorded_and_ends_no_worker_unless_the_worker_is_to_end(
    lab: Lab, raised: BaseException, seen: type[BaseException], recorded: str
) -> None:
    # Given a body that raises
    lab.declare("tidy", body=_raising(raised))
    lab.beat().tick()

    # When it runs, then the worker sees an error that it survives, and the record has the cause
    with pytest.raises(seen):
        run(app.tasks["tidy"], 1)
    assert str(lab.record().last_error).startswith(recorded)
    assert (lab.record().failures, lab.record().runs) == (1, 0)
    assert app.runtime.locks.holders("periodic:tidy") == ()


def _raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_a_long_error_is_cut(lab: Lab) -> None:
    lab.declare("tidy", body=_raising(ValueError("x" * 10_000)))
    lab.beat().tick()
    with pytest.raises(ValueError, match="xxx"):
        run(app.tasks["tidy"], 1)
    assert len(str(lab.record().last_error)) == 500


def test_a_run_whose_worker_was_killed_is_recorded_when_its_message_comes_back(lab: Lab, runs: list[str]) -> None:
    # Given a run that began, and whose worker was killed
    lab.ledger.begin("tidy", "killed", Tick(3, time.time()))
    assert lab.record().running

    # When the broker delivers its message to another worker, then the tick does not run twice, and the death is known
    run(app.tasks["tidy"], 3)
    assert runs == []
    assert "its worker died" in str(lab.record().last_error)
    assert not lab.record().running


def test_what_is_no_longer_declared_leaves_no_record_behind(lab: Lab, runs: list[str]) -> None:
    lab.client.delete("redbeat:tidy")
    run(app.tasks["tidy"], 1)
    assert runs == ["ran"]
    assert not lab.client.exists("redbeat:tidy")


def test_a_timeout_travels_with_every_run(lab: Lab) -> None:
    lab.declare("tidy", timeout=5).apply_async()
    [message] = lab.client.hvals("fleetring:q:periodic:tasks")
    assert '"timelimit": [15, 5]' in message
