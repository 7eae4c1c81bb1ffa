"""A small version of ``benchmarks/parking.py``: crowds on few nodes, and kills of everybody who takes part."""

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tasks import pool
from tasks.testing import LiveFleet, live_fleet

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

Wait = Callable[..., Any]


@pytest.fixture
def parked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """What the benchmark runs."""
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    monkeypatch.setenv("PARKING_WITNESS", str(tmp_path / "witness"))
    for module in ("actions", "events", "storm"):
        importlib.import_module(f"parked.{module}")
    return importlib.import_module("parked")


@pytest.fixture
def crowded(valkey: str, tmp_path: Path) -> Iterator[LiveFleet]:
    """A fleet of four nodes."""
    with live_fleet(tmp_path, valkey, imports="parked.actions", reconcile_every=4) as fleet:
        for number in range(4):
            fleet.add_node(f"node-{number}")
        yield fleet


def test_a_crowd_on_few_nodes_takes_slots_only_to_work(
    parked: ModuleType, crowded: LiveFleet, wait_until: Wait, tmp_path: Path
) -> None:
    # Given many actions on four nodes, which take a while each, and six slots
    calls = [parked.actions.work.s(f"node-{number % 4 if number % 3 else 0}", 0.1) for number in range(120)]
    sent = [result.id for result in pool.add_many(calls)]
    with parked.events.Watch().watching() as watch, crowded.worker("-Q", "actions", "-c", "6"):
        wait_until(lambda: not parked.actions.alive(), 90)
        slots = wait_until(lambda: len(watch.slots().working) >= len(sent) and watch.slots())

    # Then all ran, those of a node one after another in their order, and those that found it locked gave their slots
    # back at once
    verdict = parked.storm.judge(tmp_path / "witness")
    assert verdict.done == set(sent)
    for ran in verdict.order.values():
        assert ran == [task_id for task_id in sent if task_id in ran]
    assert (verdict.overlaps, verdict.stale) == ([], [])
    assert slots.most <= 6
    assert len(slots.parking) > 10
    assert slots.typical < 0.1


def test_waiting_for_a_lock_costs_no_commands(
    parked: ModuleType, crowded: LiveFleet, wait_until: Wait, tmp_path: Path, commands_a_second: Callable[[], float]
) -> None:
    with crowded.worker("-Q", "actions", "-c", "2"):
        # Given a holder, and what its worker sends anyway
        holder = parked.actions.hold.delay("node-0", str(tmp_path / "end"))
        wait_until((tmp_path / "end.held").exists)
        alone = commands_a_second()

        # When two hundred wait for it
        pool.add_many([parked.actions.nothing.s("node-0") for _ in range(200)])
        wait_until(lambda: parked.actions.parked() == 200, 60)

        # Then the server has next to nothing more to do; and all run when they can
        assert commands_a_second() <= alone + 2
        (tmp_path / "end").touch()
        wait_until(lambda: not parked.actions.alive(), 60)
        assert holder.state == "SUCCESS"


@pytest.fixture
def commands_a_second(broker_client: Any) -> Callable[[], float]:
    def measure(seconds: float = 4.0) -> float:
        def count() -> int:
            return int(broker_client.info("commandstats")["cmdstat_evalsha"]["calls"])

        before = count()
        time.sleep(seconds)
        return (count() - before) / seconds

    return measure


def test_whoever_is_killed_nothing_is_lost_and_nothing_runs_twice_at_once(parked: ModuleType, tmp_path: Path) -> None:
    # Given a stream of actions, and a kill of the enqueuer, of a holder, a waiter, a worker and the server
    found = parked.storm.Storm(tmp_path, count=300, kills=5, nodes=12, patience=120).run()

    # Then every action ran, no two holders met on a node, and nothing is left
    assert found.lost == []
    assert (found.overlaps, found.stale) == ([], [])
    assert found.left == []
