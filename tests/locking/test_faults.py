"""What goes wrong with processes: paused, killed, forked."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partialmethod
from typing import Any

import pytest
from redis import Redis

from locking import LockManager, ResourceLocked
from locking.request import Request
from locking.store import Reply
from locking.waiting import Doorbell
from tests.processes import wait_until

Start = Callable[[str], Any]


def test_a_holder_that_was_stopped_past_its_lease_knows_so_when_it_wakes(locks: LockManager, another: Start) -> None:
    holder = another(
        """
lock = locks.acquire("node", lease=0.6)
say("held", lock.fence)
while not lock.lost:
    time.sleep(0.005)
say("lost", lock.release())
"""
    )
    fence = int(holder.line().split()[1])
    holder.process.send_signal(signal.SIGSTOP)
    with locks.acquire("node", wait=10.0) as lock:
        assert lock.fence > fence
        holder.process.send_signal(signal.SIGCONT)
        assert holder.line() == "lost False"
        lock.ensure()
        assert locks.holders("node")[0].fence == lock.fence


def test_the_lock_of_a_killed_process_is_free_after_its_lease(locks: LockManager, another: Start) -> None:
    holder = another('lock = locks.acquire("node", lease=1.0); say("held"); time.sleep(60)')
    assert holder.line() == "held"
    holder.process.kill()
    started = time.monotonic()
    locks.acquire("node", wait=10.0).release()
    assert time.monotonic() - started < 2.0


def test_the_lock_of_a_process_known_dead_is_free_at_once(locks: LockManager, another: Start) -> None:
    holder = another('lock = locks.acquire("node", lease=300.0); say(locks.owner); time.sleep(60)')
    owner = holder.line()
    holder.process.kill()
    with pytest.raises(ResourceLocked):
        locks.acquire("node")
    assert locks.reap(owner) == 1
    locks.acquire("node").release()


def test_a_process_killed_with_a_grant_that_it_never_confirmed_is_passed_over(
    locks: LockManager, another: Start
) -> None:
    # Given a waiter that is stopped when it is granted the lock, and then killed
    lock = locks.acquire("node")
    waiter = another('locks.acquire("node", wait=None)')
    wait_until(lambda: locks.waiters("node"))
    waiter.process.send_signal(signal.SIGSTOP)
    lock.release()
    (holder,) = locks.holders("node")
    assert holder.pid == waiter.process.pid
    waiter.process.kill()
    # Then its grant lives no longer than the provisional lease
    started = time.monotonic()
    locks.acquire("node", wait=20.0).release()
    assert time.monotonic() - started < 7.0


def test_a_lock_that_was_handed_to_a_process_that_is_killed_is_free_after_its_lease(
    locks: LockManager, another: Start
) -> None:
    heir = another('lock = locks.adopt(sys.stdin.readline().strip(), lease=1.0); say("adopted"); time.sleep(60)')
    handle = locks.acquire("node", lease=300.0).transfer()
    heir.tell(handle)
    assert heir.line() == "adopted"
    heir.process.kill()
    started = time.monotonic()
    locks.acquire("node", wait=10.0).release()
    assert time.monotonic() - started < 3.0


def test_a_waiter_whose_hint_was_lost_finds_its_grant_by_itself(
    locks: LockManager, another: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a waiter here that never hears of its grants, which live a tenth of what it sleeps
    monkeypatch.setattr(Doorbell, "ring", lambda *_: None)
    monkeypatch.setattr(Request, "__init__", partialmethod(Request.__init__, provisional=0.2))
    asked: list[Reply] = []
    really_ask = locks._owner.store.acquire

    def ask(request: Request) -> Reply:
        asked.append(really_ask(request))
        return asked[-1]

    monkeypatch.setattr(locks._owner.store, "acquire", ask)
    holder = another(
        'lock = locks.acquire("node", lease=2.0); say("held"); sys.stdin.readline(); lock.release(); say("")'
    )
    assert holder.line() == "held"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.acquire, "node", wait=20.0)
        while len(asked) < 2:  # once to queue, once more when it listens
            time.sleep(0.01)
        # When the lock is released, and its grant ends unconfirmed
        holder.tell()
        assert holder.line() == ""
        # Then it has the lock within the lease of the holder that it waited for
        started = time.monotonic()
        waiting.result(10).release()
        assert 0.2 < time.monotonic() - started < 3.0


def test_a_forked_child_has_no_share_in_its_parents_lock(locks: LockManager, another: Start) -> None:
    forking = another(
        """
lock = locks.acquire("node", lease=1.0)
owner = locks.owner
pid = os.fork()
if pid == 0:
    try:
        locks.acquire("node")
    except ResourceLocked:
        say(lock.lost, lock.release(), locks.owner != owner)
    own = locks.acquire("child", lease=0.6)
    time.sleep(1.2)
    own.ensure()
    say("child", own.release())
    os._exit(0)
os.waitpid(pid, 0)
lock.ensure()
say("parent", lock.release())
"""
    )
    assert [forking.line(), forking.line(), forking.line()] == ["True False True", "child True", "parent True"]


def test_nothing_is_left_behind_when_all_is_released(
    locks: LockManager, another: Start, redis: Redis, namespace: str
) -> None:
    churn = another(
        """
import random
for turn in range(200):
    names = random.sample("abcdef", random.randint(1, 3))
    try:
        mode = random.choice([LockMode.SHARED, LockMode.EXCLUSIVE])
        with locks.acquire(names, mode, wait=random.choice([0, 0.01])) as lock:
            if random.random() < 0.2: locks.adopt(lock.transfer()).release()
    except ResourceLocked:
        pass
locks.close()
say("done")
"""
    )
    for turn in range(200):
        try:
            with locks.acquire("abcdef"[turn % 6], wait=0.005):
                pass
        except ResourceLocked:
            pass
    assert churn.line() == "done"
    churn.process.wait()
    keys = redis.keys("*")
    for key in keys:
        assert redis.ttl(key) > 0 or key == f"{{{namespace}}}:clock"
    left = {key for key in keys if ":m:" not in key}
    assert left == {f"{{{namespace}}}:clock", f"{{{namespace}}}:times"}
    marks = redis.zrange(f"{{{namespace}}}:times", 0, -1)
    assert sorted(marks) == [f"\0{name}" for name in "abcdef"], "of exclusive grants, for observers; no request"


def test_the_child_of_a_test_really_is_another_process(another: Start) -> None:
    assert int(another("say(os.getpid())").line()) != os.getpid()
