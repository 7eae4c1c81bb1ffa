"""Who gets a lock, who doesn't, and what is said about it. The same on every store."""

import re
import time
from collections.abc import Callable
from functools import partial

import pytest

from locking import AlreadyHeld, InvalidRequest, LockLost, LockManager, LockMode, ResourceLocked


def test_an_exclusive_lock_keeps_others_out_until_it_is_released(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("node:1")
    with pytest.raises(ResourceLocked):
        other.acquire("node:1")
    with pytest.raises(ResourceLocked):
        other.acquire("node:1", LockMode.SHARED)
    assert lock.release()
    assert other.acquire("node:1").release()


def test_sharers_stand_together_and_keep_an_exclusive_out(locks: LockManager, other: LockManager) -> None:
    first, second = locks.acquire("node:1", LockMode.SHARED), other.acquire("node:1", LockMode.SHARED)
    with pytest.raises(ResourceLocked):
        other.acquire("node:1", owner="third")
    first.release()
    with pytest.raises(ResourceLocked):
        locks.acquire("node:1", owner="third")
    second.release()
    assert locks.acquire("node:1").release()


def test_many_names_are_taken_all_or_none(locks: LockManager, other: LockManager) -> None:
    with locks.acquire("node:2"):
        with pytest.raises(ResourceLocked):
            other.acquire(["node:1", "node:2", "node:3"])
        assert other.acquire(["node:1", "node:3"]).release()


def test_ten_thousand_names_are_one_grant_and_one_more_is_an_error_that_names_the_limit(
    locks: LockManager, other: LockManager
) -> None:
    # Given a lock on as many names as there may be, and a request for all of them behind it
    names = [f"node:{number}" for number in range(10_000)]
    lock = locks.acquire(names)
    assert other.enqueue("all", names, owner="all") is None
    assert other.waiters("node:9999")[0].owner == "all"
    # When the lock is released
    assert lock.release()
    # Then the whole of it goes over at once
    fetched = other.enqueue("all", names, owner="all")
    assert fetched is not None
    assert len(fetched.names) == 10_000
    assert fetched.release()
    for ask in (locks.acquire, partial(locks.enqueue, "more")):
        with pytest.raises(InvalidRequest, match="10001 names in one request, 10000 is the most"):
            ask([*names, "one more"])


def test_one_grant_may_mix_modes(locks: LockManager, other: LockManager) -> None:
    with locks.acquire({"node:1": LockMode.EXCLUSIVE, "rack:1": LockMode.SHARED}) as lock:
        assert lock.modes == {"node:1": LockMode.EXCLUSIVE, "rack:1": LockMode.SHARED}
        assert other.acquire("rack:1", LockMode.SHARED).release()
        with pytest.raises(ResourceLocked):
            other.acquire("rack:1")


def test_every_grant_has_a_larger_fence_than_those_before(locks: LockManager, other: LockManager) -> None:
    fences = []
    for manager in (locks, other, locks):
        for names in (["a", "b"], ["b"], ["a", "b", "c"]):
            with manager.acquire(names) as lock:
                fences.append(lock.fence)
    assert fences == sorted(set(fences))


def test_the_error_says_who_holds_the_lock_and_why(locks: LockManager, other: LockManager) -> None:
    lock = locks.acquire("node:1", purpose="flash firmware", owner="conductor-3", task="task-9")
    with pytest.raises(ResourceLocked) as caught:
        other.acquire(["node:1", "node:2"])
    (holder,) = caught.value.holders
    assert caught.value.names == ("node:1", "node:2")
    assert (holder.name, holder.owner, holder.task, holder.purpose) == (
        "node:1",
        "conductor-3",
        "task-9",
        "flash firmware",
    )
    assert holder.fence == lock.fence
    assert 0 <= holder.age < 5
    assert 25 < holder.lease_left <= 30
    assert "node:1 is held exclusive by conductor-3" in str(caught.value)
    assert "task task-9" in str(caught.value)
    assert "flash firmware" in str(caught.value)


def test_the_same_owner_is_told_at_once_that_it_holds_the_lock_already(locks: LockManager) -> None:
    with locks.acquire("node:1"), pytest.raises(AlreadyHeld):
        locks.acquire("node:1", wait=30.0)


def test_a_lock_that_expired_can_be_taken_by_another_owner_and_the_first_learns_of_it(
    locks: LockManager, other: LockManager
) -> None:
    lock = locks.acquire("node:1", lease=0.2, max_hold=0.2)
    time.sleep(0.25)
    with other.acquire("node:1") as second:
        assert lock.lost
        with pytest.raises(LockLost):
            lock.ensure()
        assert not lock.release()
        assert second.fence > lock.fence
        assert other.holders("node:1")


def test_a_lock_outlives_its_lease_while_its_process_renews_it(locks: LockManager, other: LockManager) -> None:
    with locks.acquire("node:1", lease=0.6) as lock:
        time.sleep(1.3)
        lock.ensure()
        with pytest.raises(ResourceLocked):
            other.acquire("node:1")


def test_an_observer_never_waits_never_blocks_and_learns_of_exclusive_grants(
    locks: LockManager, other: LockManager
) -> None:
    with locks.acquire("node:1"):
        seen = other.acquire("node:1", LockMode.OBSERVE)
        assert seen.validate()
    assert seen.validate()
    with locks.acquire("node:1", LockMode.SHARED):
        assert seen.validate()
    with locks.acquire("node:1"):
        assert not seen.validate()
    seen.release()


def test_release_may_come_early_late_and_twice(locks: LockManager) -> None:
    with locks.acquire("node:1") as lock:
        assert lock.release()
        assert not lock.release()
    assert locks.list() == ()


def test_breaking_a_lock_frees_it_and_tells_whom_it_hit(
    locks: LockManager, other: LockManager, caplog: pytest.LogCaptureFixture
) -> None:
    lock = locks.acquire(["node:1", "node:2"], purpose="inspect")
    (broken,) = other.break_("node:1", reason="host burnt down")
    assert broken.purpose == "inspect"
    assert "host burnt down" in caplog.text
    assert other.list() == ()
    assert not lock.release()


def test_a_dead_owner_is_reaped_and_its_namesakes_are_not(manager: Callable[..., LockManager]) -> None:
    locks = manager()
    lost = [locks.acquire(f"node:{i}", owner="node_1") for i in range(3)]
    kept = locks.acquire("node:9", owner="nodeA1")
    assert locks.reap("node_1") == 3
    assert [state.name for state in locks.list()] == ["node:9"]
    assert not any(lock.release() for lock in lost)
    assert kept.release()


def test_a_manager_asks_on_behalf_of_whoever_its_asker_names(manager: Callable[..., LockManager]) -> None:
    run: str | None = "worker.1/task-7"
    locks = manager(asker=lambda: run)
    locks.acquire("node:1")
    locks.acquire("node:2", owner="somebody")
    run = None
    locks.acquire("node:3")
    owners = {state.name: state.holders[0].owner for state in locks.list()}
    assert owners == {"node:1": "worker.1/task-7", "node:2": "somebody", "node:3": locks.owner}
    assert locks.reap("worker.1/task-7") == 1


def test_list_shows_every_name_with_its_holders(locks: LockManager, other: LockManager) -> None:
    with locks.acquire(["b", "a"]), other.acquire("c", LockMode.SHARED), locks.acquire("c", LockMode.SHARED):
        states = locks.list()
        assert [state.name for state in states] == ["a", "b", "c"]
        assert len(states[2].holders) == 2
        assert states[0].as_dict()["holders"][0]["mode"] == "exclusive"


NAMES = ["{x}", "a:b", "100%", "a_b", "nul\0nul", "Ünïcödé 節點", "A", "a", " a ", "a ", "x" * 500]


def test_a_name_may_be_any_text(locks: LockManager, other: LockManager) -> None:
    held = [locks.acquire(name) for name in NAMES]
    for name in NAMES:
        with pytest.raises(ResourceLocked) as caught:
            other.acquire(name)
        assert caught.value.holders[0].name == name
    assert [state.name for state in other.list()] == sorted(NAMES)
    assert all(lock.release() for lock in held)
    assert other.list() == ()


def test_each_attempt_grant_and_end_is_logged_with_its_purpose(
    locks: LockManager, other: LockManager, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "locking"):
        lock = locks.acquire("node:1", purpose="flash firmware")
        with pytest.raises(ResourceLocked):
            other.acquire("node:1", purpose="reboot")
        lock.release()
    told = [re.sub(r"\d+\.\d\d s", "N s", record.getMessage()) for record in caplog.records]
    mine, theirs = ([line for line in told if purpose in line] for purpose in ("flash firmware", "reboot"))
    attempt, grant, end = (line.removeprefix(f"request {lock.request_id} ") for line in mine)
    assert attempt == "for 1 names: flash firmware"
    assert grant.startswith("got ")
    assert grant.endswith("(took N s): flash firmware")
    assert end.startswith("ends, ")
    assert end.endswith("(held for N s): flash firmware")
    assert [line.partition(" for ")[2] for line in theirs] == ["1 names: reboot"]
