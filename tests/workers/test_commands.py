import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from tasks.cli import fleet
from tasks.workers import Stage

TTL = 6.0


def run(*arguments: str, status: int = 0) -> str:
    """Run ``fleetring workers`` and return what it printed."""
    result = CliRunner().invoke(fleet, ["workers", *arguments])
    assert result.exit_code == status, result.output
    return result.output


def listed() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(run("list", "--json"))}


@pytest.fixture(scope="module")
def worker(workers: Any) -> Any:
    """A worker that consumes the actions."""
    return workers.start("one@x", "-Q", "actions", FLEETRING_CAPABILITIES_TTL=str(TTL), FLEETRING_MEMBER_LEASE="3")


@pytest.fixture(autouse=True)
def ready(worker: Any) -> None:
    worker.wait_until_ready()


@pytest.mark.system
def test_the_list_tells_who_works_on_what(worker: Any, work: Any, wait_until: Callable[..., Any]) -> None:
    # Given a worker with a task
    task = work.nap.delay(2)
    wait_until(lambda: listed()["one@x"]["running"])

    # Then the list tells both
    row = listed()["one@x"]
    assert (row["state"], row["wish"], row["report"]["pid"]) == ("running", None, worker.process.pid)
    assert set(row["report"]["queues"]) - {"worker:one@x"} == {"actions"}  # its own queue comes with its first tick
    assert [one["id"] for one in row["running"]] == [task.id]
    assert 0 <= row["last_sign"] < 3
    table = run("list")
    assert "1/2" in table
    assert "nap" in table
    task.get(timeout=60)


@pytest.mark.system
def test_a_drained_worker_takes_nothing_until_it_is_resumed_not_even_after_a_restart(
    workers: Any, worker: Any, work: Any, wait_until: Callable[..., Any]
) -> None:
    # Given a worker with a task
    running = work.nap.delay(1)
    wait_until(lambda: [task["id"] for task in listed()["one@x"]["running"]] == [running.id])

    # When it is drained, then it finishes that and takes nothing new
    assert "worker one@x is drained" in run("drain", "one@x", "--wait", "30")
    assert running.status == "SUCCESS"
    waiting = work.nap.delay(0)

    # And when it is killed, and started again
    worker.kill()
    wait_until(lambda: listed()["one@x"]["state"] == Stage.LOST)
    assert "is lost: there is nothing to stop" in run("stop", "one@x", status=1)
    worker.process = workers.start("one@x", "-Q", "actions", FLEETRING_CAPABILITIES_TTL=str(TTL)).process
    wait_until(lambda: listed()["one@x"]["state"] == Stage.DRAINED)
    assert not waiting.ready()

    # When it is resumed, then it goes on
    assert "worker one@x is running" in run("resume", "one@x", "--wait", "30")
    waiting.get(timeout=60)


@pytest.mark.system
def test_what_the_broker_forgot_is_published_again(valkey: str, wait_until: Callable[..., Any]) -> None:
    # When the broker has lost what it knew of the workers
    with redis.Redis.from_url(valkey) as client:
        client.delete(*client.keys("fleetring:workers:*"))

    # Then they say it again
    wait_until(lambda: listed()["one@x"]["report"], TTL)


def test_an_unknown_worker_is_answered_with_those_that_are_near() -> None:
    for verb in ("drain", "resume", "stop"):
        assert "Error: no worker 'on@x' is known; did you mean one@x?" in run(verb, "on@x", status=2)


@pytest.mark.system
def test_a_stopped_worker_ends_and_is_known_no_more(worker: Any, wait_until: Callable[..., Any]) -> None:
    assert "worker one@x is gone" in run("stop", "one@x", "--wait", "30")
    assert worker.process.wait(30) == 0
    assert "one@x" not in listed()
