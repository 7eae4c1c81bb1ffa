"""Whole fleets as a user starts them: the command in a folder, its processes, its end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.processes import REPOSITORY


class Command:
    """A command of the ``fleetring`` family that runs in a folder of its own."""

    def __init__(self, folder: Path, *arguments: object, **settings: str) -> None:
        self.folder = folder
        self.output = folder / "output.txt"
        with self.output.open("wb") as output:
            self.popen = subprocess.Popen(
                [str(Path(sys.executable).with_name("fleetring")), *map(str, arguments)],
                cwd=folder,
                env={**environment(), **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_hear_interrupts,  # noqa: PLW1509 - it takes no lock that a thread could have
            )

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        """Every process below it, by whatever way it was started."""
        return psutil.Process(self.popen.pid).children(recursive=True)

    def until(self, holds: Callable[[], object], what: str, patience: float = 90.0) -> None:
        """Wait for something to become true, as long as the command runs."""
        deadline = time.monotonic() + patience
        while not holds():
            assert self.popen.poll() is None, f"ended before: {what}\n{self.text[-3000:]}"
            assert time.monotonic() < deadline, f"not within {patience} s: {what}\n{self.text[-3000:]}"
            time.sleep(0.1)

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.popen.send_signal(signal.SIGINT)


def _hear_interrupts() -> None:
    """Undo what a shell does to what it starts in the background, these tests perhaps."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment() -> dict[str, str]:
    """An environment without settings of Fleetring; the folder alone says where things are."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FLEETRING_")}
    return {**own, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120"}
