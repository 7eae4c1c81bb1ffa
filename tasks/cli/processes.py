"""Child processes of a local fleet: started with a log each, watched, and stopped to the last one."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tasks.errors import FleetringError


class ProcessDied(FleetringError):
    """A process of the local fleet ended before it was told to."""

    def __init__(self, name: str, returncode: int, log: Path) -> None:
        lines = log.read_text(errors="replace").strip().splitlines()[-8:]
        super().__init__(f"{name} ended with status {returncode}; its log {log} closes with:\n" + "\n".join(lines))


@dataclass
class Process:
    """One child in a process group of its own, so that Ctrl-C reaches it only through us."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Signal the whole group; one that is gone is left alone."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)


@dataclass
class ProcessGroup:
    """Starts processes and, at the end of a ``with`` block, stops them in reverse order.

    Args:
        logs: the folder of their logs, made where it is missing.
        patience: how long they may take to end after SIGTERM, in seconds. Defaults to 20.
    """

    logs: Path
    patience: float = 20.0
    processes: list[Process] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> Process:
        """Start a process; its output goes to ``NAME.log``."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(  # noqa: S603 - the commands are our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            )
        process = Process(name, popen, log)
        self.processes.append(process)
        return process

    def check(self, *names: str) -> None:
        """Make sure that the named processes still run.

        Raises:
            ProcessDied: one ended; the text has the end of its log.
        """
        for process in self.processes:
            if process.name in names and not process.running:
                raise ProcessDied(process.name, process.popen.returncode, process.log)

    def follow(self, show: Callable[[str, str], object]) -> None:
        """Pass on every line that the processes write, until all have ended or an interrupt.

        Args:
            show: gets the name of a process and one line of its log.
        """
        with ExitStack() as stack:
            logs = [(process, stack.enter_context(process.log.open(errors="replace"))) for process in self.processes]
            while any(process.running for process in self.processes):
                for process, log in logs:
                    for line in log:
                        show(process.name, line.rstrip())
                time.sleep(0.2)

    def stop(self) -> None:
        """End every process: SIGTERM one after another, the last started first, then SIGKILL for what remains."""
        deadline = time.monotonic() + self.patience
        for process in reversed(self.processes):
            process.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(max(0.1, deadline - time.monotonic()))
        for process in self.processes:
            process.signal(signal.SIGKILL)
            process.popen.wait()
        self.processes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
