"""Requests that wait with nobody in them: how a task is set aside behind its lock."""

import time
from collections.abc import Callable

import pytest

from locking import AlreadyHeld, Grant, InvalidRequest, LockManager, LockMode


def test_whoever_releases_hears_which_request_has_the_lock_now(manager: Callable[..., LockManager]) -> None:
    heard: list[Grant] = []
    locks, worker = manager(on_grants=heard.extend), manager()
    lock = locks.acquire("node:1")
    assert worker.enqueue("task-1", "node:1", task="task-1", owner="fleet") is None
    assert worker.enqueue("task-1", "node:1", task="task-1", owner="fleet") is None
    assert [waiter.task for waiter in locks.waiters("node:1")] == ["task-1"]
    lock.release()
    assert heard == [Grant("task-1", "fleet", "task-1", "")]
    granted = worker.enqueue("task-1", "node:1")
    assert granted is not None
    assert granted.fence > lock.fence
    again = manager().enqueue("task-1", "node:1")
    assert again is not None
    assert again.fence == granted.fence
    assert granted.release()
    assert not again.release()
    assert locks.list() == ()


def test_a_free_lock_is_had_at_once_and_a_request_can_be_cancelled(locks: LockManager, other: LockManager) -> None:
    lock = locks.enqueue("task-1", ["a", "b"])
    assert lock is not None
    assert other.enqueue("task-2", "a") is None
    assert other.enqueue("task-3", "a", LockMode.SHARED) is None
    assert not other.cancel("task-2")
    assert lock.release()
    sharer = other.enqueue("task-3", "a", LockMode.SHARED)
    assert sharer is not None
    assert other.cancel("task-3")
    assert not sharer.release()
    assert locks.list() == ()


def test_a_grant_that_nobody_fetches_goes_on_to_the_next(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("a")
    assert other.enqueue("gone", "a", provisional=0.2, owner="gone") is None
    assert other.enqueue("here", "a", owner="here") is None
    lock.release()
    with pytest.raises(AlreadyHeld):
        other.enqueue("another", "a", owner="gone")
    deadline = time.monotonic() + 5
    while (granted := other.enqueue("here", "a", owner="here")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert granted.release()


def test_a_waiter_that_missed_its_grant_has_its_old_place_as_soon_as_it_asks(
    locks: LockManager, other: LockManager
) -> None:
    # Given two requests in the queue, the first of which doesn't hear that it was granted
    lock = locks.acquire("a", lease=300.0)
    assert other.enqueue("deaf", "a", provisional=0.2, owner="deaf") is None
    assert other.enqueue("next", "a", owner="next") is None
    lock.release()
    time.sleep(0.3)
    # When its grant has gone on to the second, and a third came
    second = other.enqueue("next", "a", owner="next")
    assert second is not None
    assert other.enqueue("late", "a", owner="late") is None
    assert [waiter.owner for waiter in locks.waiters("a")] == ["late"]
    # Then it stands in front of the third once it asks
    assert other.enqueue("deaf", "a", owner="deaf") is None
    assert [waiter.owner for waiter in locks.waiters("a")] == ["deaf", "late"]
    second.release()
    first = other.enqueue("deaf", "a", owner="deaf")
    assert first is not None
    assert first.fence > second.fence
    first.release()
    assert other.cancel("late")


def test_a_waiter_that_missed_its_grant_has_the_lock_if_nobody_wants_it(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("a")
    assert other.enqueue("deaf", "a", provisional=0.2, owner="deaf") is None
    lock.release()
    time.sleep(0.3)
    assert other.acquire("a", owner="quick").release()
    granted = other.enqueue("deaf", "a", owner="deaf")
    assert granted is not None
    assert granted.release()
    assert locks.list() == ()


def test_a_request_needs_an_id_and_a_lock_that_can_wait(locks: LockManager) -> None:
    for request_id in ("", "x" * 81, None):
        with pytest.raises(InvalidRequest):
            locks.enqueue(request_id, "a")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidRequest):
        locks.enqueue("task", "a", LockMode.OBSERVE)
