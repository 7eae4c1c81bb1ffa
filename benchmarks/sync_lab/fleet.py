"""A fleet of fake subclouds with real workers, a real beat, a real broker and a real database."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil
from sqlalchemy import func, insert, select

from partitioning import GroupView, PartitionCoordinator
from tasks import app, queue_ownership
from tasks.inventory import Subcloud, SyncState

ROOT = Path(__file__).parents[2]
CELERY = (sys.executable, "-m", "celery", "-A", "tasks")
WORKER = ("worker", "--without-gossip", "--without-mingle", "--pool", "threads", "-l", "INFO")
#: For so many seconds after a broker's start nobody is declared dead.
RESTART_GRACE = 40


class Fleet:
    """Subclouds and processes of one trial; the settings are in the environment already.

    Args:
        folder: where databases, logs and the journal of the subclouds go.

    Attributes:
        journal: what the subclouds write down of each request to them, a JSON line each.
        deaths: when each process that was killed had ended, by its process id.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal.jsonl"
        self.deaths: dict[int, float] = {}
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._others: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        app.runtime.database.upgrade()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for process in (*self.workers.values(), *self._others):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        app.runtime.close()

    # -- subclouds

    def add(self, count: int, prefix: str, info: Callable[[int], Mapping[str, Any]], **values: Any) -> list[str]:
        """Put so many fake subclouds into the inventory, which are managed; returns their names."""
        names = [f"{prefix}-{number:04d}" for number in range(count)]
        rows = [
            {"name": name, "driver": "fake", "managed": True, "driver_info": {"journal": str(self.journal), **info(n)}}
            for n, name in enumerate(names)
        ]
        with app.runtime.database.session() as session:
            session.execute(insert(Subcloud), [row | values for row in rows])
        return names

    def states(self, prefix: str = "") -> Counter[SyncState]:
        """How many subclouds are in each state."""
        counted = select(Subcloud.state, func.count()).where(Subcloud.name.startswith(prefix)).group_by(Subcloud.state)
        with app.runtime.database.reading() as session:
            return Counter({state: number for state, number in session.execute(counted)})  # noqa: C416 - rows

    def completed(self, count: int, prefix: str = "") -> bool:
        """Whether so many are completed."""
        return self.states(prefix)[SyncState.COMPLETED] >= count

    def busiest(self) -> tuple[str, int]:
        """The living worker with the most syncs in progress, and how many these are."""
        running = select(Subcloud.claimed_by).where(Subcloud.state == SyncState.IN_PROGRESS)
        with app.runtime.database.reading() as session:
            owners = Counter(str(owner).split(":")[0] for owner in session.scalars(running))
        return max(((name, owners[name]) for name in self.workers), key=lambda found: found[1])

    # -- processes

    def start_worker(self, name: str, slots: int, *arguments: str) -> None:
        """Start a worker with a pool of threads."""
        self.workers[name] = self._start(name, *WORKER, "-n", name, "-c", str(slots), *arguments)

    def start_beat(self) -> None:
        """Start a beat, which has the due syncs dispatched every ten seconds."""
        self._others.append(self._start("beat", "beat", "-l", "WARNING"))

    def _start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own command
                [*CELERY, *command],
                stdout=log, stderr=log, cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
            )  # fmt: skip

    def kill(self, name: str) -> float:
        """End a worker without a warning; returns when that was."""
        process = self.workers.pop(name)
        at = time.time()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.deaths[process.pid] = time.time()
        return at

    def stop(self, name: str) -> None:
        """Ask a worker to end, and wait for it."""
        process = self.workers.pop(name)
        process.terminate()
        process.wait(60)
        self.deaths[process.pid] = time.time()

    @contextmanager
    def standing_still(self, name: str) -> Iterator[None]:
        """A worker does nothing at all for the block, and then goes on."""
        self.workers[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.workers[name].send_signal(signal.SIGCONT)

    def memory(self) -> float:
        """What the workers have in memory, in MiB."""
        return float(sum(psutil.Process(worker.pid).memory_info().rss for worker in self.workers.values())) / 2**20

    @staticmethod
    def group() -> GroupView:
        """The group of the workers as the broker knows it."""
        coordinator = PartitionCoordinator(app.settings.broker_url)
        return coordinator.view(queue_ownership.GROUP)

    @staticmethod
    def settled() -> bool:
        """Whether the broker runs for so long that it declares silent workers dead again; see ``restart_grace``."""
        with app.broker_client() as client:
            return int(client.info("server")["uptime_in_seconds"]) > RESTART_GRACE

    def assembled(self) -> bool:
        """Whether all workers that were started count as members, and nobody else does."""
        return set(self.group().members) == self.workers.keys()

    @staticmethod
    def until(condition: Callable[[], Any], what: str, patience: float = 120.0, every: float = 0.1) -> float:
        """Wait for a condition; returns how long that took, in seconds.

        Raises:
            TimeoutError: it never happened.
        """
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > patience:
                raise TimeoutError(f"not within {patience:g} s: {what}")
            time.sleep(every)
        return time.monotonic() - began

    def told(self) -> list[dict[str, Any]]:
        """What the subclouds have written down."""
        lines = self.journal.read_text(encoding="utf-8").splitlines() if self.journal.exists() else []
        return [json.loads(line) for line in lines]
