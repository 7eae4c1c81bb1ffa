"""Requests that wait with nobody in them: how a task is set aside behind its lock."""

import time
from collections.abc import Callable

import pytest

from locking import AlreadyHeld, Grant, InvalidRequest, LockManager, LockMode, ResourceLocked
from locking.renewal import renewer
from tests.processes import wait_until


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
    assert [holder.owner for holder in locks.holders("node:1")] == [worker.owner], "whoever fetched it holds it"
    assert granted.release()
    assert locks.list() == ()


def test_two_runs_of_one_piece_of_work_never_share_a_grant(manager: Callable[..., LockManager]) -> None:
    # Given a run that fetched its lock and goes on, though everybody thinks that it is dead
    stray, next_run = manager(), manager()
    lock = stray.enqueue("task-1", "a")
    assert lock is not None
    # When the work is run once more, then that run waits
    assert next_run.enqueue("task-1", "a") is None
    assert not next_run.cancel("task-2")
    # And the end of the first one, even if it is told twice, is not that of the second
    assert lock.release()
    second = next_run.enqueue("task-1", "a")
    assert second is not None
    assert second.fence > lock.fence
    assert not stray._owner.store.release(lock.request_id)
    assert not second.lost
    assert second.release()
    assert stray.list() == ()


def test_a_request_that_is_refused_says_who_is_in_the_way_and_waits(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("a", purpose="flash")
    with pytest.raises(ResourceLocked, match="flash") as refusal:
        other.enqueue("task-1", "a", loud=True)
    assert not isinstance(refusal.value, AlreadyHeld)
    assert [holder.fence for holder in refusal.value.holders] == [lock.fence]
    assert locks.tend() == ["task-1"]
    lock.release()
    assert locks.tend() == []
    assert other.cancel("task-1")


def test_work_that_waited_elsewhere_before_stands_where_that_places_it(locks: LockManager, other: LockManager) -> None:
    with locks.acquire("a"):
        assert other.enqueue("late", "a", owner="late") is None
        assert other.enqueue("old", "a", owner="old", arrived=time.time() - 60) is None
        assert other.enqueue("older", "a", owner="older", arrived=time.time() - 90.5) is None
        waiters = locks.waiters("a")
        assert [waiter.owner for waiter in waiters] == ["older", "old", "late"]
        assert 85 < waiters[0].age < 120
        for request in ("late", "old", "older"):
            other.cancel(request)
    with pytest.raises(InvalidRequest, match="arrived must be seconds since 1970, not 'noon'"):
        locks.enqueue("x", "a", arrived="noon")  # type: ignore[arg-type]  # on purpose


def test_somebody_who_tends_the_locks_ends_what_is_over_for_those_with_nobody_in_them(
    manager: Callable[..., LockManager],
) -> None:
    # Given a holder that dies without a word, and a request that waits with nobody in it
    heard: list[Grant] = []
    holder, warden = manager(), manager(on_grants=heard.extend)
    lost = holder.acquire("a", lease=0.3, max_hold=0.3)
    assert warden.enqueue("task-1", ["a", "b"], task="task-1") is None
    assert warden.tend() == ["task-1"]
    renewer().forget([lost.request_id])
    # When its time is over
    wait_until(lambda: not warden.tend())
    # Then the request was granted, and whoever tends hears so
    assert [grant.task for grant in heard] == ["task-1"]
    assert not lost.release()
    granted = warden.enqueue("task-1", ["a", "b"])
    assert granted is not None
    granted.release()


def test_a_request_with_nobody_in_it_does_not_die_with_whoever_asked(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("a")
    assert other.enqueue("task-1", "a") is None
    assert locks.reap(other.owner) == 0
    assert len(locks.waiters("a")) == 1
    lock.release()
    assert locks.reap(other.owner) == 0
    granted = locks.enqueue("task-1", "a")
    assert granted is not None
    assert locks.reap(locks.owner) == 1
    assert not granted.release()


def test_a_free_lock_is_had_at_once_and_a_request_can_be_cancelled(locks: LockManager, other: LockManager) -> None:
    lock = locks.enqueue("task-1", ["a", "b"])
    assert lock is not None
    assert other.enqueue("task-2", "a") is None
    assert other.enqueue("task-3", "a", LockMode.SHARED) is None
    assert not other.cancel("task-2")
    assert lock.release()
    assert other.cancel("task-3"), "it was granted"
    sharer = other.enqueue("task-4", "a", LockMode.SHARED)
    assert sharer is not None
    assert not other.cancel("task-4"), "it was fetched"
    assert sharer.release()
    assert locks.list() == ()


def test_a_grant_that_nobody_fetches_goes_on_to_the_next(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("a")
    assert other.enqueue("gone", "a", provisional=0.2, owner="gone") is None
    assert other.enqueue("here", "a", owner="here") is None
    lock.release()
    assert other.enqueue("another", "a", owner="gone") is None, "as long as nobody fetched it, nobody holds it"
    other.cancel("another")
    assert wait_until(lambda: other.enqueue("here", "a", owner="here")).release()


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


def test_a_waiter_can_be_given_another_priority_and_keeps_its_arrival(locks: LockManager, other: LockManager) -> None:
    # Given three waiters
    lock = locks.acquire("a")
    for owner in ("first", "second", "third"):
        assert other.enqueue(owner, "a", owner=owner) is None
    # When the last two are put in front, then the first of all as well, then the second back behind
    for owner, priority, order in (
        ("third", -5, ["third", "first", "second"]),
        ("second", -5, ["second", "third", "first"]),
        ("first", -5, ["first", "second", "third"]),
        ("second", 10**400, ["first", "third", "second"]),
    ):
        assert locks.change_priority(owner, priority)
        assert [waiter.owner for waiter in locks.waiters("a")] == order
    # Then they get the lock in that order
    assert [waiter.priority for waiter in locks.waiters("a")][:2] == [-5, -5]
    for owner in ("first", "third", "second"):
        lock.release()
        granted = other.enqueue(owner, "a", owner=owner)
        assert granted is not None
        lock = granted
    lock.release()
    assert locks.list() == ()


def test_a_new_order_of_waiters_grants_what_it_lets_through(manager: Callable[..., LockManager]) -> None:
    heard: list[Grant] = []
    locks = manager(on_grants=heard.extend)
    # Given sharers that wait behind an exclusive request, which waits for a sharer
    lock = locks.acquire("a", LockMode.SHARED, owner="holder")
    assert locks.enqueue("writer", "a", owner="writer") is None
    for owner in ("reader 1", "reader 2", "reader 3"):
        assert locks.enqueue(owner, "a", LockMode.SHARED, owner=owner) is None
    # When one sharer goes before the writer, and then the writer goes behind all
    assert locks.change_priority("reader 2", -1)
    assert [grant.request for grant in heard] == ["reader 2"]
    assert locks.change_priority("writer", 1)
    # Then each change has let in those in whose way the writer stood
    assert [grant.request for grant in heard] == ["reader 2", "reader 1", "reader 3"]
    assert [waiter.owner for waiter in locks.waiters("a")] == ["writer"]
    for request in ("reader 1", "reader 2", "reader 3"):
        assert locks.cancel(request)
    assert lock.release()
    assert locks.cancel("writer")


def test_only_what_waits_has_a_priority_to_change(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("a", LockMode.SHARED)
    assert not locks.change_priority(lock.request_id, -1)
    assert not locks.change_priority("nobody", -1)
    for request_id, priority in (("", 1), (None, 1), ("task", 1.5), ("task", "high"), ("task", True)):
        with pytest.raises(InvalidRequest):
            locks.change_priority(request_id, priority)  # type: ignore[arg-type]  # on purpose
    # A grant that waits to be fetched isn't taken away
    assert other.enqueue("slow", "a", owner="slow") is None
    lock.release()
    assert locks.change_priority("slow", 5)
    assert locks.holders("a")[0].owner == "slow"
    # Nor does a request that was set aside, because it missed its grant, lose its new place
    assert other.enqueue("deaf", "a", provisional=0.2, owner="deaf") is None
    assert locks.cancel("slow")
    time.sleep(0.3)
    next_one = other.acquire("a", owner="next")
    assert locks.change_priority("deaf", 7)
    assert other.enqueue("late", "a", owner="late") is None
    assert other.enqueue("deaf", "a", owner="deaf") is None
    assert [(waiter.owner, waiter.priority) for waiter in locks.waiters("a")] == [("late", 0), ("deaf", 7)]
    for request_id in ("late", "deaf"):
        locks.cancel(request_id)
        assert not locks.change_priority(request_id, 0)
    next_one.release()


def test_strict_priorities_are_changed_like_aged_ones(manager: Callable[..., LockManager]) -> None:
    locks = manager(ageing=None)
    lock = locks.acquire("a")
    for owner in ("first", "second"):
        assert locks.enqueue(owner, ["a", "b"], owner=owner) is None
    assert locks.change_priority("second", -1)
    for name in ("a", "b"):
        assert [waiter.owner for waiter in locks.waiters(name)] == ["second", "first"]
    for request_id in ("first", "second"):
        locks.cancel(request_id)
    lock.release()


def test_a_request_needs_an_id_and_a_lock_that_can_wait(locks: LockManager) -> None:
    for request_id in ("", "x" * 81, None):
        with pytest.raises(InvalidRequest):
            locks.enqueue(request_id, "a")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidRequest):
        locks.enqueue("task", "a", LockMode.OBSERVE)
