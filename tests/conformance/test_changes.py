"""A held lock changes: upgrade, downgrade, hand-over, and its limits."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from locking import (
    AlreadyHeld,
    LockLost,
    LockManager,
    LockMode,
    LockTimeout,
    ResourceLocked,
    UpgradeConflict,
)
from tests.conformance.queueing import queued
from tests.processes import wait_until

SHARED, EXCLUSIVE = LockMode.SHARED, LockMode.EXCLUSIVE


def test_the_only_sharer_becomes_exclusive_under_a_new_fence(locks: LockManager, other: LockManager) -> None:
    with locks.acquire(["a", "b"], SHARED) as lock:
        before = lock.fence
        lock.upgrade()
        assert lock.mode is EXCLUSIVE
        assert lock.fence > before
        with pytest.raises(ResourceLocked):
            other.acquire("b", SHARED)
        lock.upgrade()


def test_an_upgrade_beside_another_sharer_is_refused_and_the_shared_lock_kept(
    locks: LockManager, other: LockManager
) -> None:
    with locks.acquire("a", SHARED) as lock, other.acquire("a", SHARED):
        with pytest.raises(ResourceLocked):
            lock.upgrade()
        with pytest.raises(LockTimeout):
            lock.upgrade(wait=0.2)
        assert lock.mode is SHARED
        lock.ensure()
        assert locks.waiters("a") == ()
        assert locks.acquire("a", SHARED, owner="third").release()


def test_of_two_sharers_that_upgrade_the_second_is_told_at_once(locks: LockManager, other: LockManager) -> None:
    first, second = locks.acquire("a", SHARED), other.acquire("a", SHARED)
    with ThreadPoolExecutor(1) as pool:
        upgrade = pool.submit(first.upgrade, 20.0)
        queued(locks, "a", 1)
        with pytest.raises(UpgradeConflict):
            second.upgrade(wait=20.0)
        second.release()
        upgrade.result(10)
    assert first.mode is EXCLUSIVE
    assert first.release()


def test_an_upgrade_goes_before_everybody_who_waits(locks: LockManager, other: LockManager) -> None:
    mine, theirs = locks.acquire("a", SHARED), other.acquire("a", SHARED)
    with ThreadPoolExecutor(2) as pool:
        writer = pool.submit(other.acquire, "a", wait=20.0, priority=-20, owner="writer")
        queued(locks, "a", 1)
        upgrade = pool.submit(mine.upgrade, 20.0)
        queued(locks, "a", 2)
        theirs.release()
        upgrade.result(10)
        assert not writer.done()
        mine.release()
        writer.result(10).release()
    assert locks.list() == ()


def test_a_downgrade_lets_waiting_sharers_in_and_leaves_no_gap(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("a")
    with ThreadPoolExecutor(2) as pool:
        sharer = pool.submit(other.acquire, "a", SHARED, wait=20.0)
        queued(locks, "a", 1)
        fence = lock.fence
        lock.downgrade()
        shared = sharer.result(10)
    assert lock.mode is SHARED
    assert lock.fence == fence
    assert {holder.mode for holder in locks.holders("a")} == {SHARED}
    shared.release()
    lock.release()


def test_a_downgrade_lets_in_sharers_behind_an_exclusive_waiter_but_only_those_already_there(
    locks: LockManager, other: LockManager
) -> None:
    # Given sharers that wait behind a writer
    lock = locks.acquire("a")
    assert other.enqueue("writer", "a", owner="writer") is None
    assert other.enqueue("reader 1", "a", SHARED, owner="reader 1") is None
    assert other.enqueue("reader 2", ["a", "b"], SHARED, owner="reader 2") is None
    busy = locks.acquire("busy")
    assert other.enqueue("elsewhere", {"a": SHARED, "busy": EXCLUSIVE}, owner="elsewhere") is None
    # When the holder downgrades
    lock.downgrade()
    # Then they share with it, and whoever comes later queues behind the writer; a second downgrade changes nothing
    assert {holder.mode for holder in locks.holders("a")} == {SHARED}
    assert other.enqueue("late", "a", SHARED, owner="late") is None
    lock.downgrade()
    assert [waiter.owner for waiter in locks.waiters("a")] == ["writer", "elsewhere", "late"]
    readers = [other.enqueue("reader 1", "a", owner="reader 1"), other.enqueue("reader 2", "a", owner="reader 2")]
    for reader in (lock, *readers):
        assert reader is not None
        assert reader.release()
    assert not other.cancel("elsewhere")
    assert other.cancel("writer")
    assert other.cancel("late")
    busy.release()


def test_a_lock_is_handed_on_without_a_gap_and_under_the_same_fence(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire(["a", "b"], purpose="flash")
    handle = lock.transfer(within=30.0)
    assert lock.released
    with pytest.raises(ResourceLocked):
        other.acquire("a")
    adopted = other.adopt(handle, task="task-7")
    assert (adopted.names, adopted.mode, adopted.fence) == (("a", "b"), EXCLUSIVE, lock.fence)
    assert locks.holders("a")[0].task == "task-7"
    assert not lock.release()
    with pytest.raises(LockLost):
        locks.adopt(handle)
    adopted.ensure()
    assert adopted.release()
    assert locks.list() == ()


def test_a_lock_handed_on_that_nobody_adopts_is_free_again(locks: LockManager, other: LockManager) -> None:
    handle = locks.acquire("a").transfer(within=0.2)
    with other.acquire("a", wait=10.0), pytest.raises(LockLost):
        locks.adopt(handle)


def test_a_lock_may_be_released_when_a_future_ends(locks: LockManager) -> None:
    for end in (lambda future: future.set_result(1), lambda future: future.set_exception(OSError()), Future.cancel):
        future: Future[int] = Future()
        with locks.acquire("a") as lock:
            lock.release_after(future)
        assert locks.holders("a")
        end(future)
        assert not locks.holders("a")
    with locks.acquire("a") as lock, pytest.raises(AttributeError):
        lock.release_after(object())  # type: ignore[arg-type]  # not a future
    assert not locks.holders("a")


def test_what_is_free_can_be_taken_but_enough_or_nothing(locks: LockManager, other: LockManager) -> None:
    with locks.acquire(["b", "d"]):
        with other.acquire_free(["a", "b", "c", "d"], at_least=2) as lock:
            assert lock.names == ("a", "c")
        with pytest.raises(ResourceLocked):
            other.acquire_free(["a", "b", "c", "d"], at_least=3)
        assert [state.name for state in locks.list()] == ["b", "d"]


def test_max_hold_ends_a_lock_however_well_it_is_renewed(locks: LockManager, other: LockManager) -> None:
    lost: list[object] = []
    lock = locks.acquire("a", lease=1.0, max_hold=2.0, on_lost=lost.append)
    time.sleep(1.3)
    lock.ensure()
    time.sleep(1.0)
    assert lock.lost
    assert lost == [lock]
    with pytest.raises(LockLost, match="its max_hold is over"):
        lock.ensure()
    assert other.acquire("a").release()


def test_the_end_of_max_hold_is_told_when_it_comes_however_long_the_lease_is(locks: LockManager) -> None:
    lost = threading.Event()
    lock = locks.acquire("a", lease=600.0, max_hold=0.5, on_lost=lambda _: lost.set())
    assert lost.wait(60)
    with pytest.raises(LockLost, match="its max_hold is over"):
        lock.ensure()


def test_a_lock_delay_keeps_the_name_closed_after_an_unclean_end_only(locks: LockManager, other: LockManager) -> None:
    locks.acquire("a", lock_delay=30.0).release()
    assert other.acquire("a").release()
    lost = locks.acquire("a", max_hold=0.2, lock_delay=0.6, owner="one")
    time.sleep(0.3)
    assert lost.lost
    with pytest.raises(ResourceLocked, match="its lock delay runs"):
        other.acquire("a")
    started = time.monotonic()
    other.acquire("a", wait=10.0).release()
    assert time.monotonic() - started < 4.0
    reaped = locks.acquire("a", lock_delay=30.0, owner="two")
    assert locks.reap("two") == 1
    assert not reaped.release() or locks.holders("a")
    other.break_("a", "test")
    assert other.acquire("a").release()


def test_the_same_owner_may_hold_again_if_it_asks_for_it(locks: LockManager, other: LockManager) -> None:
    with locks.acquire(["a", "b"]) as lock:
        with locks.acquire("a", reentrant=True) as again:
            assert again is lock
        with locks.acquire("a", SHARED, reentrant=True, wait=5.0) as again:
            assert again.fence == lock.fence
        with pytest.raises(ResourceLocked):
            other.acquire("a", reentrant=True)
        with pytest.raises(AlreadyHeld):
            locks.acquire(["a", "c"], reentrant=True)
    assert locks.list() == ()


def test_a_handle_that_nobody_holds_any_more_is_released(locks: LockManager, caplog: pytest.LogCaptureFixture) -> None:
    locks.acquire("a", lease=0.3)
    wait_until(lambda: not locks.holders("a"))
    assert "dropped without release" in caplog.text
