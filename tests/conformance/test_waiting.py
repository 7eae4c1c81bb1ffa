"""The queue: who waits, in which order, and how the lock comes to the next."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partialmethod

import pytest

from locking import AlreadyHeld, Lock, LockManager, LockMode, LockOrderError, LockTimeout, ResourceLocked
from locking.request import Request
from locking.waiting import Doorbell
from tests.conformance.queueing import queued
from tests.processes import wait_until

SHARED, EXCLUSIVE = LockMode.SHARED, LockMode.EXCLUSIVE


@contextmanager
def _crowd() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def _line_up(
    pool: ThreadPoolExecutor, locks: LockManager, name: str, requests: Sequence[tuple[str, LockMode, int]]
) -> list[Future[Lock]]:
    """Let requests (purpose, mode, priority) queue one after the other."""
    futures = []
    for number, (purpose, mode, priority) in enumerate(requests, start=1):
        futures.append(pool.submit(locks.acquire, name, mode, wait=20.0, purpose=purpose, priority=priority))
        queued(locks, name, number)
    return futures


def test_a_waiter_gets_the_lock_when_it_is_released(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("node:1")
    with _crowd() as pool:
        (future,) = _line_up(pool, other, "node:1", [("next", EXCLUSIVE, 0)])
        lock.release()
        granted = future.result(10)
    assert granted.fence > lock.fence
    assert granted.remaining() > 20
    assert granted.release()
    assert locks.list() == ()


def test_waiters_of_one_priority_are_served_in_the_order_of_their_arrival(
    locks: LockManager, other: LockManager
) -> None:
    lock, served = locks.acquire("node:1"), []

    def work(number: int) -> None:
        with other.acquire("node:1", wait=20.0):
            served.append(number)

    with _crowd() as pool:
        futures = []
        for number in range(4):
            futures.append(pool.submit(work, number))
            queued(locks, "node:1", number + 1)
        lock.release()
        for future in futures:
            future.result(20)
    assert served == [0, 1, 2, 3]


def test_the_lower_priority_number_goes_first(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("node:1")
    with _crowd() as pool:
        slow, urgent = _line_up(pool, other, "node:1", [("slow", EXCLUSIVE, 19), ("urgent", EXCLUSIVE, -20)])
        assert [waiter.purpose for waiter in locks.waiters("node:1")] == ["urgent", "slow"]
        assert [waiter.priority for waiter in locks.waiters("node:1")] == [-20, 19]
        lock.release()
        urgent.result(10).release()
        slow.result(10).release()


def test_a_level_of_priority_is_worth_its_ageing_and_no_more(manager: Callable[..., LockManager]) -> None:
    locks = manager(ageing=0.2)
    lock = locks.acquire("node:1", owner="holder")
    with _crowd() as pool:
        (patient,) = _line_up(pool, locks, "node:1", [("patient", EXCLUSIVE, 1)])
        time.sleep(0.3)
        urgent = pool.submit(locks.acquire, "node:1", wait=20.0, purpose="urgent")
        queued(locks, "node:1", 2)
        assert [waiter.purpose for waiter in locks.waiters("node:1")] == ["patient", "urgent"]
        lock.release()
        patient.result(10).release()
        urgent.result(10).release()


def test_a_queued_exclusive_stops_later_sharers_and_then_the_sharers_come_together(
    locks: LockManager, other: LockManager
) -> None:
    sharer = locks.acquire("node:1", SHARED)
    with _crowd() as pool:
        requests = [("writer", EXCLUSIVE, 0), ("reader 1", SHARED, 0), ("reader 2", SHARED, 0), ("last", EXCLUSIVE, 0)]
        writer, *readers, last = _line_up(pool, other, "node:1", requests)
        with pytest.raises(ResourceLocked):
            other.acquire("node:1", SHARED, owner="no barging")
        sharer.release()
        written = writer.result(10)
        assert not any(reader.done() for reader in readers)
        written.release()
        shared = [reader.result(10) for reader in readers]
        assert len(locks.holders("node:1")) == 2
        assert not last.done()
        for reader in shared:
            reader.release()
        last.result(10).release()


def test_the_wait_is_one_budget_and_the_request_leaves_the_queue(locks: LockManager, other: LockManager) -> None:
    with locks.acquire("node:1", purpose="long work"):
        started = time.monotonic()
        with pytest.raises(LockTimeout, match="long work") as caught:
            other.acquire("node:1", wait=0.4)
        assert 0.39 < time.monotonic() - started < 2.0
        assert caught.value.holders
        assert locks.waiters("node:1") == ()


def test_a_waiter_takes_over_when_the_holder_lets_its_lease_run_out(locks: LockManager, other: LockManager) -> None:
    locks.acquire("node:1", lease=30.0, max_hold=0.5)
    started = time.monotonic()
    with other.acquire("node:1", wait=20.0):
        assert time.monotonic() - started < 3.0


def test_a_waiter_that_missed_its_grant_is_overtaken_once_and_asks_often_from_then_on(
    locks: LockManager, other: LockManager, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url.startswith(("sqlite", "mysql")):
        pytest.skip("there are no hints to miss: waiters ask by themselves, more often than a grant waits for them")
    # Given a waiter that hears only the second hint, and one behind it
    lock = other.acquire("node:1", lease=300.0)
    rings: list[str] = []

    def ring(doorbell: Doorbell, request_ids: Iterable[str]) -> None:
        told = list(request_ids)
        rings.extend(told if doorbell is locks._owner._doorbell else [])
        if doorbell is not locks._owner._doorbell or len(rings) == 2:
            really_ring(doorbell, told)

    really_ring = Doorbell.ring
    monkeypatch.setattr(Doorbell, "ring", ring)
    monkeypatch.setattr("locking.owner.PROVISIONAL", 0.5)
    with _crowd() as pool:
        with monkeypatch.context() as short:
            short.setattr(Request, "__init__", partialmethod(Request.__init__, provisional=0.4))
            (deaf,) = _line_up(pool, locks, "node:1", [("deaf", EXCLUSIVE, 0)])
        behind = pool.submit(other.acquire, "node:1", wait=60.0, lease=300.0)
        queued(other, "node:1", 2)
        # When the lock is released, then the one behind has it, though nobody else asks for anything
        lock.release()
        next_lock, late = behind.result(20), other.enqueue("late", "node:1", owner="late")
        assert late is None
        # And the first stands in front again, and has it next, though it is told nothing more
        wait_until(lambda: [waiter.purpose for waiter in other.waiters("node:1")] == ["deaf", ""])
        next_lock.release()
        deaf.result(20).release()
    other.cancel("late")


def test_many_names_wait_together_without_holding_some(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("b")
    with _crowd() as pool:
        (future,) = _line_up(pool, other, "b", [("both", EXCLUSIVE, 0)])
        both = pool.submit(other.acquire, ["a", "b"], wait=20.0)
        queued(locks, "a", 1)
        assert locks.holders("a") == ()
        lock.release()
        future.result(10).release()
        both.result(10).release()
    assert locks.list() == ()


def test_closing_the_manager_ends_the_wait(manager: Callable[..., LockManager]) -> None:
    locks, closing = manager(), manager()
    with locks.acquire("node:1"), _crowd() as pool:
        (future,) = _line_up(pool, closing, "node:1", [("in vain", EXCLUSIVE, 0)])
        closing.close()
        assert future.exception(10) is not None
        assert locks.waiters("node:1") == ()


def test_a_nested_wait_must_go_up_in_the_order_of_names(locks: LockManager) -> None:
    with locks.acquire("b"):
        with locks.acquire("c", wait=1.0):
            pass
        with pytest.raises(LockOrderError, match="waiting for 'a' while holding 'b'"):
            locks.acquire("a", wait=1.0)
        with locks.acquire("a"):
            pass
        with pytest.raises(AlreadyHeld):
            locks.acquire(["a", "b"], wait=1.0)


def test_threads_of_one_manager_wait_for_each_other(locks: LockManager) -> None:
    lock = locks.acquire("node:1")
    threading.Timer(0.2, lock.release).start()
    with _crowd() as pool:
        assert pool.submit(locks.acquire, "node:1", wait=10.0).result(15).release()
