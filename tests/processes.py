"""Real worker processes for tests, and patience with them."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
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
        command = [sys.executable, "-m", "celery", "-A", application, "worker", "-l", "INFO", *arguments]
        paths = {"PYTHONPATH": f"{REPOSITORY}:{folder}", "PYTHONWARNINGS": "ignore"}
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--without-gossip", "--without-mingle"],
                env=os.environ | paths | dict(environment or {}), stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

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
