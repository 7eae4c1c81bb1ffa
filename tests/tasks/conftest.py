"""A fleet of fake machines and subclouds: real broker, real database, real locks."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tasks import app, settings
from tasks.testing import LiveFleet, live_fleet
from tests.processes import REPOSITORY, WorkerProcess, Workers, wait_until


@pytest.fixture
def fleet(valkey_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveFleet]:
    """An empty fleet, whose settings are in the environment."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    with live_fleet(folder, valkey_url) as made:
        yield made
        monkeypatch.undo()  # what the test set besides goes first


@pytest.fixture
def hold() -> Callable[..., Any]:
    """Takes locks on nodes, as somebody else would."""
    return lambda *names, **options: app.runtime.locks.acquire([f"node:{name}" for name in names], **options)


@pytest.fixture
def queued(valkey_url: str) -> Callable[[], dict[str, int]]:
    """Counts the messages in each queue that has any."""

    def count() -> dict[str, int]:
        with app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            depths = {name: channel.queue_declare(name).message_count for name in app.amqp.queues}
        return {name: depth for name, depth in depths.items() if depth}

    return count


@pytest.fixture(scope="session")
def actions(valkey: str) -> ModuleType:
    """Actions that the tests and their workers know."""
    return import_module("tests.tasks.handed_actions")


class Floor:
    """A fleet of two nodes, and workers whose actions write a journal."""

    def __init__(self, fleet: LiveFleet, journal: Callable[..., list[dict[str, Any]]], workers: Workers) -> None:
        self.fleet = fleet
        self.journal = journal
        self._workers = workers

    def begun(self, count: int = 1) -> dict[str, Any]:
        """Wait until so many actions began; the last of them."""
        last: dict[str, Any] = wait_until(lambda: self.journal("began")[count - 1 : count])[0]
        return last

    def is_free(self, name: str = "node-1") -> bool:
        return not app.runtime.locks.holders(f"node:{name}")

    def start_worker(self, *arguments: str, actions: bool = True) -> WorkerProcess:
        known = ("-I", "tests.tasks.handed_actions") if actions else ()
        return self._workers.another(*known, *arguments)


@pytest.fixture
def floor(
    fleet: LiveFleet, journal: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Floor]:
    """Two nodes, short leases, and real workers that are killed at the end."""
    monkeypatch.setenv("FLEETRING_LOCK_LEASE", "2")
    monkeypatch.setenv("FLEETRING_BMC_LOCK_DELAY", "0.2")
    settings.current.cache_clear()
    fleet.add_node("node-1")
    fleet.add_node("node-2")
    with Workers(fleet.folder, "tasks", "-Q", "actions") as workers:
        yield Floor(fleet, journal, workers)
