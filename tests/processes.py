"""Real worker processes for tests, and patience with them."""

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]


def free_port() -> int:
    """A port below those that the kernel lends to clients: the server starts later, and nobody may sit there then."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = random.randint(12_000, 31_000)  # noqa: S311 - no secret
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
    """Return the first true value of `condition`; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    pytest.fail(f"not within {timeout} s: {condition}")


class ForkedProcess:
    """A process that another one has forked, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._watched = os.pidfd_open(pid)

    def _ended(self, timeout: float | None) -> bool:
        return bool(select.select([self._watched], [], [], timeout)[0])

    def poll(self) -> int | None:
        return 0 if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> None:
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)

    def send_signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._watched, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def zygote() -> "subprocess.Popen[str]":
    """The process from which this one's workers are forked; it ends with this one."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "tests.zygote"], stdin=pipe, stdout=pipe, text=True, env=environment, cwd=REPOSITORY
    )


def fork_worker(**order: Any) -> ForkedProcess:
    """Let the zygote become a worker, see there."""
    parent = zygote()
    assert parent.stdin
    assert parent.stdout
    print(json.dumps(order), file=parent.stdin, flush=True)
    return ForkedProcess(int(parent.stdout.readline()))


class WorkerProcess:
    """One real Celery worker, in a process group of its own.

    Args:
        log: the file for what it says.
        application: what it runs, as for ``celery -A``.
        folder: where its modules lie.
        arguments: for ``celery worker``.
        environment: what it finds in its environment besides this process's.
    """

    def __init__(
        self, log: Path, application: str, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        log.touch()
        self.process = fork_worker(
            log=str(log),
            paths=[str(REPOSITORY), str(folder)],
            arguments=["-A", application, "worker", "-l", "INFO", "--without-gossip", "--without-mingle", *arguments],
            environment=os.environ | dict(environment or {}),
        )

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def children(self) -> list[int]:
        """The processes of its pool."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def wait_until_ready(self) -> None:
        wait_until(lambda: "ready." in self.output or self.process.poll() is not None)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the worker and its children without a chance to do anything."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask_to_end(self) -> None:
        """Ask the worker to end, as an operator would, its tasks first."""
        self.signal(signal.SIGTERM)

    def terminate(self, timeout: float = 20.0) -> None:
        """End the worker as an operator would, tasks first."""
        self.ask_to_end()
        self.process.wait(timeout)
