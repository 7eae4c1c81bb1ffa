"""Real worker processes for tests, and patience with them."""

import atexit
import contextlib
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals, pidfd_send_signal
from typing import Any, Self

import pytest

REPOSITORY = Path(__file__).parents[1]


def free_port() -> int:
    """A port below those that the kernel lends to clients: the server starts later, and nobody may sit there then."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = random.randint(12_000, 31_000)  # noqa: S311 - no secret
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], Any], timeout: float = 40.0) -> Any:
    """Return the first true value of `condition`; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    pytest.fail(f"not within {timeout} s: {condition}")


class ForkedProcess:
    """A process that the zygote has forked, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._watched = os.pidfd_open(pid)
        self._status: int | None = None

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self._status is None:
            if not select.select([self._watched], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self._status = order(ended=self.pid)
        return self._status

    def send_signal(self, number: Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            pidfd_send_signal(self._watched, number)

    def kill(self) -> None:
        self.send_signal(SIGKILL)


@cache
def zygote() -> "subprocess.Popen[str]":
    """The process from which this one's workers are forked; it ends with this one."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.zygote"], stdin=pipe, stdout=pipe, text=True, env=environment, cwd=REPOSITORY
    )
    atexit.register(process.communicate)  # closes its input, which ends it
    return process


def order(**details: Any) -> int:
    """Give the zygote an order and return its answer, see there."""
    parent = zygote()
    assert parent.stdin
    assert parent.stdout
    print(json.dumps(details), file=parent.stdin, flush=True)
    return int(parent.stdout.readline())


class WorkerProcess:
    """One real Celery worker, in a process group of its own, in the current folder.

    Args:
        log: the file for what it says, behind what is there already.
        application: what it runs, as for ``celery -A``.
        arguments: for ``celery worker``.
        environment: what it finds in its environment besides this process's.
    """

    def __init__(self, log: Path, application: str, *arguments: str, **environment: str) -> None:
        log.touch()
        self._log, self._begin = log, log.stat().st_size
        pid = order(
            log=str(log),
            folder=os.getcwd(),
            paths=[str(REPOSITORY)],
            arguments=["-A", application, "worker", "-l", "INFO", "--without-gossip", "--without-mingle", *arguments],
            environment=os.environ | environment,
        )
        self.process = ForkedProcess(pid)

    @property
    def output(self) -> str:
        return self._log.read_bytes()[self._begin :].decode()

    @property
    def children(self) -> list[int]:
        """The processes of its pool."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def wait_until_ready(self) -> None:
        wait_until(lambda: "ready." in self.output or self.process.poll() is not None)

    def signal(self, number: Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the worker and its children without a chance to do anything."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, SIGKILL)
        self.process.wait()

    def ask_to_end(self) -> None:
        """Ask the worker to end, as an operator would, its tasks first."""
        self.signal(SIGTERM)

    def terminate(self, how: Signals = SIGTERM) -> int:
        """End the worker as an operator would, tasks first, unless `how` is another one; returns its exit status."""
        self.signal(how)
        return self.process.wait(60)


class Workers:
    """Worker processes of one application, all of them killed at the end of the block.

    Args:
        folder: for their logs.
        application: as for ``celery -A``.
        usual: arguments that each of them gets.
    """

    def __init__(self, folder: Path, application: str, *usual: str) -> None:
        self._folder = folder
        self._application = application
        self._usual = usual
        self.running: dict[str, WorkerProcess] = {}

    def start(self, name: str, *arguments: str, **environment: str) -> WorkerProcess:
        """Start a worker, in place of one of the same name if that still runs."""
        if name in self.running:
            self.running[name].kill()
        log = self._folder / f"{name}.log"
        worker = WorkerProcess(log, self._application, "-n", name, *self._usual, *arguments, **environment)
        self.running[name] = worker
        return worker

    def another(self, *arguments: str, wait: bool = True, **environment: str) -> WorkerProcess:
        """Start a worker with the next name of w0@test, w1@test ..., and wait until it is ready."""
        worker = self.start(f"w{len(self.running)}@test", *arguments, **environment)
        if wait:
            worker.wait_until_ready()
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.running.values():
            worker.kill()
