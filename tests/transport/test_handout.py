"""A prefork pool under a worker's event loop: tasks are handed out at once, and a loop without them rests."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.concurrency.asynpool import AsynPool
from kombu.asynchronous import Hub

from tasks.transport.handout import hand_out_at_once, rest_without_jobs

PROCESSES = 2


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def pool(hub: Hub) -> Iterator[Any]:
    """Two processes that are up, registered as a worker registers them."""
    pool = AsynPool(PROCESSES, threads=False)
    pool.register_with_event_loop(hub)
    hand_out_at_once(pool, hub)
    rest_without_jobs(pool, hub)
    turn_until(hub, lambda: len(pool._all_inqueues) == PROCESSES)
    yield pool
    pool.terminate()
    pool.join()


def turn_until(hub: Hub, condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        hub.run_once()
    raise AssertionError("the loop turned 1000 times in vain")


def open_and_close(path: str) -> int:
    """Wait until somebody opens the other end of a named pipe."""
    os.close(os.open(path, os.O_RDONLY))
    return os.getpid()


def test_a_job_is_with_an_idle_process_before_the_loop_turns_again(hub: Hub, pool: Any) -> None:
    # Given idle processes
    # When two jobs are put
    jobs = [pool.apply_async(os.getpid) for _ in range(PROCESSES)]

    # Then both are written, each to a process of its own
    assert not pool.outbound_buffer
    assert len({job._write_to.pid for job in jobs}) == PROCESSES

    # And their results come
    turn_until(hub, lambda: all(job.ready() for job in jobs))
    assert {job.get() for job in jobs} == {job._write_to.pid for job in jobs}


def test_a_job_without_an_idle_process_goes_to_the_first_that_becomes_idle(hub: Hub, pool: Any, tmp_path: Any) -> None:
    # Given that both processes are busy
    doors = [str(tmp_path / name) for name in "ab"]
    for door in doors:
        os.mkfifo(door)
    held = [pool.apply_async(open_and_close, (door,)) for door in doors]

    # When one more job is put, then it waits
    waiting = pool.apply_async(os.getpid)
    assert len(pool.outbound_buffer) == 1

    # When one of them ends, then it gets the job
    os.close(os.open(doors[1], os.O_WRONLY))
    turn_until(hub, waiting.ready)
    assert waiting.get() == held[1].get()
    os.close(os.open(doors[0], os.O_WRONLY))
    turn_until(hub, held[0].ready)


def test_a_loop_without_jobs_asks_nothing_of_the_kernel_for_the_pool(
    hub: Hub, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a pool that has run a job
    job = pool.apply_async(os.getpid)
    turn_until(hub, job.ready)
    hub.run_once()
    asked: list[int] = []
    monkeypatch.setattr(hub.poller, "unregister", asked.append)

    # When the loop turns with nothing to hand out
    for tick in list(hub.on_tick):
        tick()

    # Then no process is looked after
    assert asked == []


def test_a_pool_that_is_registered_anew_goes_on_handing_out_at_once(hub: Hub, pool: Any) -> None:
    # Given a worker whose connection to the broker was lost: it registers its pool again
    pool.register_with_event_loop(hub)
    hand_out_at_once(pool, hub)
    rest_without_jobs(pool, hub)

    # When a job is put, then it is written at once, and once
    job = pool.apply_async(os.getpid)
    assert not pool.outbound_buffer
    turn_until(hub, job.ready)
    assert sum(pool.write_stats.values()) == 1
    assert len(hub.on_tick) == 1
