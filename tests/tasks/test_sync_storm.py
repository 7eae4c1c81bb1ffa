"""Storms of initial syncs with real workers, in small; ``benchmarks/initial_sync.py`` has them in their full size."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from benchmarks.sync_lab import witness
from benchmarks.sync_lab.fleet import Fleet
from benchmarks.sync_lab.trials import in_steps
from tasks import app, initial_sync, settings
from tasks.inventory import Subcloud, SyncFailure, SyncState

pytestmark = pytest.mark.system

Configure = Callable[..., Fleet]


@pytest.fixture
def configured(folder: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Makes a fleet of fake subclouds with these settings, whose processes are killed at the end."""
    opened: list[Fleet] = []

    def configure(**values: Any) -> Fleet:
        ours = {"DATABASE_URL": f"sqlite:///{folder}/fleet.db", "CONSUME": "initial-sync", "MEMBER_LEASE": 2}
        for name, value in {**ours, "IMPORTS": "tests.tasks.quick_broker", **values}.items():
            monkeypatch.setenv(f"FLEETRING_{name}", str(value))
        settings.current.cache_clear()
        opened.append(Fleet(folder).__enter__())
        return opened[-1]

    yield configure
    for fleet in opened:
        fleet.__exit__()
    settings.current.cache_clear()


def each_was_completed_once_and_never_two_at_a_time(fleet: Fleet, count: int) -> None:
    """By what the database and the subclouds have written down."""
    completed = witness.completions(witness.changes())
    assert len(completed) == count
    assert set(completed.values()) == {1}
    assert witness.overlaps(witness.requests(fleet.told(), fleet.deaths)) == []


def test_a_crowd_is_synchronised_by_all_workers_within_the_budget_of_the_centre(configured: Configure) -> None:
    # Given two workers with two queues between them, and a centre that may be read by one at a time
    fleet = configured(INITIAL_SYNC_QUEUES=2, CENTRE_CONCURRENCY=1, CENTRE_TTL=1)
    witness.swear_in()
    count = 60
    slow_centre = {"central_reads": True, "delay": {"read_centre": 0.1, "sync_identity": 0.2}}
    fleet.add(count, "crowd", lambda _number: slow_centre)
    for name in ("a@lab", "b@lab"):
        fleet.start_worker(name, 4)
    fleet.until(fleet.assembled, "the workers are members")

    # When all are requested at once, then all are done, each once
    initial_sync.update_states(None, online=True)
    fleet.until(lambda: fleet.completed(count), "all are completed")
    each_was_completed_once_and_never_two_at_a_time(fleet, count)

    # And the centre was never read by two at a time
    most, _ = witness.peak(witness.requests(fleet.told(), {}), "read_centre")
    assert most == 1


def test_new_ones_are_done_while_dead_ones_use_up_all_that_is_left_to_them(configured: Configure) -> None:
    # Given dead subclouds that are tried again, and never answer
    fleet = configured(SYNC_RETRIES=2, SYNC_PROBE_TIMEOUT=3600)
    names = fleet.add(50, "dead", lambda _number: {"delay": {"probe": 3600}}, online=True)
    failed = {"state": SyncState.FAILED, "failure": SyncFailure.UNREACHABLE, "unreachable": 3, "next_attempt_at": 1.0}
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).where(Subcloud.name.in_(names)).values(**failed))
    fleet.start_worker("a@lab", 4)
    initial_sync.dispatch()
    fleet.until(lambda: fleet.states("dead")[SyncState.IN_PROGRESS] == 2, "as many as may be are tried")

    # When new ones come, then they are done, and no more of the dead are tried
    new = fleet.add(5, "new", lambda _number: in_steps(0.2))
    initial_sync.update_states(new, online=True)
    initial_sync.dispatch()
    fleet.until(lambda: fleet.completed(5, "new"), "the new ones are completed")
    assert fleet.states("dead")[SyncState.IN_PROGRESS] == 2


def test_what_killed_workers_had_begun_is_gone_on_with_long_before_the_lease_of_its_row_ends(
    configured: Configure,
) -> None:
    # Given workers in the middle of many syncs, whose claims would last for an hour
    fleet = configured(SYNC_LEASE=3600, LOCK_LEASE=3600, WORKER_LEASE=3)
    witness.swear_in()
    count = 60
    fleet.add(count, "sync", lambda _number: in_steps(1.6))
    for number in range(3):
        fleet.start_worker(f"w{number}@lab", 4)
    fleet.until(fleet.assembled, "the workers are members")
    initial_sync.update_states(None, online=True)

    # When two that have begun several are killed, and others join
    for number in range(2):
        fleet.until(lambda: fleet.busiest()[1] >= 3, "one has begun several")
        fleet.kill(fleet.busiest()[0])
        fleet.start_worker(f"w{3 + number}@lab", 4)

    # Then all are done, each once, and what the dead had begun was begun again
    fleet.until(lambda: fleet.completed(count), "all are completed")
    each_was_completed_once_and_never_two_at_a_time(fleet, count)
    assert witness.takeovers(witness.changes(), fleet.deaths)


def test_a_killed_process_of_a_pool_costs_its_sync_moments_and_not_a_lease(configured: Configure) -> None:
    # Given a sync in the middle of its first step, whose claim would last for an hour
    fleet = configured(SYNC_LEASE=3600, LOCK_LEASE=3600)
    witness.swear_in()
    [name] = fleet.add(1, "sync", lambda _number: in_steps(4.0))
    fleet.start_worker("a@lab", 1, "--pool", "prefork")
    initial_sync.update_states(None, online=True)
    fleet.until(fleet.told, "it has begun")
    [first] = {line["pid"] for line in fleet.told()}

    # When the process that it runs in is killed
    os.kill(first, signal.SIGKILL)
    fleet.deaths[first] = time.time()

    # Then the same worker begins it again in another process, and completes it
    fleet.until(lambda: fleet.completed(1), "it is completed")
    each_was_completed_once_and_never_two_at_a_time(fleet, 1)
    assert fleet.told()[-1]["pid"] != first
    assert [change.state for change in witness.changes()[name]].count("in-progress") == 2


def test_a_member_that_flaps_makes_no_sync_run_twice(configured: Configure) -> None:
    # Given three workers in the middle of many syncs
    fleet = configured(MEMBER_LEASE=1, WORKER_LEASE=60)
    witness.swear_in()
    count = 60
    fleet.add(count, "sync", lambda _number: in_steps(0.8))
    for number in range(3):
        fleet.start_worker(f"w{number}@lab", 4)
    fleet.until(fleet.assembled, "the workers are members")
    initial_sync.update_states(None, online=True)

    # When one of them stands still for longer than its membership lasts, again and again
    for _ in range(3):
        with fleet.standing_still("w0@lab"):
            fleet.until(lambda: not fleet.assembled(), "it is missed")
        fleet.until(lambda: fleet.assembled() or fleet.completed(count), "it is back")

    # Then all are done, each in one run
    fleet.until(lambda: fleet.completed(count), "all are completed")
    each_was_completed_once_and_never_two_at_a_time(fleet, count)
    begun = [change for those in witness.changes().values() for change in those if change.state == "in-progress"]
    assert len(begun) == count
