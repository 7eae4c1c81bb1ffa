import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tasks import app

OF_ACTIONS = ("-Q", "actions")
HASTY = {"FLEETRING_WORKER_LEASE": "3"}


def holds(name: str) -> list[tuple[float, int, int]]:
    """When, in which process and under which fence a lock was had, in that order."""
    path = Path(name)
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(at), int(pid), int(fence)) for at, pid, fence in map(str.split, lines)]


@pytest.fixture(scope="module")
def pair(workers: Any) -> dict[str, Any]:
    """Two workers of the queue actions, dead to the broker after 3 s of silence."""
    started = {name: workers.start(name, *OF_ACTIONS, **HASTY) for name in ("left@x", "right@x")}
    for worker in started.values():
        worker.wait_until_ready()
    return started


def which(pair: dict[str, Any], pid: int) -> str:
    """The worker that a process of a pool belongs to."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().split()[3])
    return next(name for name, worker in pair.items() if worker.process.pid == parent)


@pytest.mark.system
def test_the_locks_of_a_dead_process_of_a_pool_are_freed_at_once(
    pair: dict[str, Any], work: Any, wait_until: Callable[..., Any]
) -> None:
    # Given a task that holds a lock
    task = work.hold.delay("child", 1)
    [(_, pid, first)] = wait_until(lambda: holds("child"))
    assert app.runtime.locks.holders("child")[0].owner.endswith(f"/{task.id}")

    # When its process is killed
    os.kill(pid, signal.SIGKILL)

    # Then its worker frees the lock long before the lease of 30 s ends, and the task runs again under a larger fence
    wait_until(lambda: not app.runtime.locks.holders("child") or len(holds("child")) > 1, 10)
    wait_until(lambda: len(holds("child")) > 1)
    assert holds("child")[1][2] > first
    task.get(timeout=60)


@pytest.mark.system
def test_a_process_that_is_killed_at_its_time_limit_leaves_no_lock(
    pair: dict[str, Any], work: Any, wait_until: Callable[..., Any]
) -> None:
    work.hold.apply_async(("limited", 60), time_limit=1)
    wait_until(lambda: holds("limited"))
    wait_until(lambda: not app.runtime.locks.holders("limited"), 15)


@pytest.mark.system
def test_the_locks_of_a_killed_worker_are_freed_with_its_tasks(
    pair: dict[str, Any], workers: Any, work: Any, wait_until: Callable[..., Any]
) -> None:
    # Given a task that holds a lock
    task = work.hold.delay("killed", 3)
    [(_, pid, first)] = wait_until(lambda: holds("killed"))

    # When its worker is killed
    name = which(pair, pid)
    pair[name].signal(signal.SIGKILL)

    # Then it runs in the other one as soon as the worker's lease of 3 s has ended; the lock's would last for 30 s
    wait_until(lambda: len(holds("killed")) > 1, 25)
    assert holds("killed")[1][2] > first
    task.get(timeout=60)
    pair[name] = workers.start(name, *OF_ACTIONS, **HASTY)
    pair[name].wait_until_ready()


@pytest.mark.system
def test_a_worker_that_stood_still_finds_its_lock_in_other_hands(
    pair: dict[str, Any], work: Any, wait_until: Callable[..., Any]
) -> None:
    # Given a task that holds a lock
    work.hold.delay("still", 3)
    [(_, pid, first)] = wait_until(lambda: holds("still"))

    # When its worker and the task stand still
    name = which(pair, pid)
    frozen = [pair[name].process.pid, *pair[name].children]
    for one in frozen:
        os.kill(one, signal.SIGSTOP)
    try:
        # Then the task runs in the other one, under a larger fence
        wait_until(lambda: len(holds("still")) > 1, 25)
        assert holds("still")[1][2] > first
    finally:
        for one in frozen:
            os.kill(one, signal.SIGCONT)

    # And when it goes on, then it knows
    wait_until(lambda: "lost its lease" in pair[name].output)
    wait_until(lambda: not app.runtime.locks.holders("still"))
    assert len(holds("still")) == 2


@pytest.mark.system
def test_nothing_is_left_of_workers_that_have_ended(pair: dict[str, Any], valkey: str) -> None:
    for worker in pair.values():
        assert worker.terminate() == 0
    with redis.Redis.from_url(valkey, decode_responses=True) as client:
        left = [key for key in client.keys("*") if ":workers:" in key or ":members" in key or ":held:" in key]
    assert left == []
    assert app.runtime.locks.list() == ()
