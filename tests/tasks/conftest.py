"""A fleet of fake machines and subclouds: real broker, real database, real locks."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from sqlalchemy import insert

from tasks import app, settings
from tasks.inventory import Node, Subcloud, nodes, subclouds


class Fleet:
    """The fleet that a test works on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_node(self, name: str, driver: str = "fake", **driver_info: Any) -> Node:
        """Put a fake node into the inventory; its state is seen by every process."""
        info = {"state_dir": str(self.folder / "state"), **driver_info}
        uuid = f"00000000-0000-4000-8000-{int.from_bytes(name.encode()) % 10**12:012d}"
        with app.runtime.database.session() as session:
            session.execute(insert(Node).values(name=name, uuid=uuid, driver=driver, driver_info=info))
        return self.node(name)

    def node(self, name: str) -> Node:
        """Read a node's row."""
        with app.runtime.database.reading() as session:
            return nodes.find(session, name)[0]

    def add_subcloud(self, name: str, driver: str = "fake", **driver_info: Any) -> Subcloud:
        """Put a subcloud into the inventory."""
        info = {"state_dir": str(self.folder / "state"), **driver_info} if driver == "fake" else driver_info
        with app.runtime.database.session() as session:
            session.execute(insert(Subcloud).values(name=name, driver=driver, driver_info=info))
        return self.subcloud(name)

    def subcloud(self, name: str) -> Subcloud:
        """Read a subcloud's row."""
        with app.runtime.database.reading() as session:
            return subclouds.find(session, name)[0]

    @contextmanager
    def worker(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a real worker process."""
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--without-gossip", "--without-mingle"]
        with (self.folder / "worker.log").open("wb") as log:
            process = subprocess.Popen([*command, *arguments], stdout=log, stderr=log, env=os.environ)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture
def fleet(valkey_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """An empty fleet, whose settings are in the environment."""
    (folder / "state").mkdir()
    monkeypatch.setenv("FLEETRING_DATABASE_URL", f"sqlite:///{folder}/fleet.db")
    monkeypatch.setenv("FLEETRING_SLOTS", "2")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    settings.current.cache_clear()
    app.runtime.database.upgrade()
    yield Fleet(folder)
    app.runtime.close()
    settings.current.cache_clear()


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


HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def actions(valkey: str) -> ModuleType:
    """Actions that the tests and their workers know."""
    specification = importlib.util.spec_from_file_location("handed_actions", HERE / "handed_actions.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Floor:
    """A fleet of two nodes, a journal that actions write, and workers."""

    def __init__(self, fleet: Fleet, url: str) -> None:
        self.fleet = fleet
        self.broker = redis.Redis.from_url(url, decode_responses=True)
        self.workers: list[subprocess.Popen[bytes]] = []

    def journal(self, event: str) -> list[dict[str, Any]]:
        return [told for told in map(json.loads, self.broker.lrange("journal", 0, -1)) if told["event"] == event]

    def begun(self, count: int = 1) -> dict[str, Any]:
        """Wait until so many actions began; the last of them."""
        return self.until(lambda: self.journal("began")[count - 1 : count])[0]

    def open_door(self, name: str) -> None:
        self.broker.rpush(f"door:{name}", "open")

    def is_free(self, name: str = "node-1") -> bool:
        return not app.runtime.locks.holders(f"node:{name}")

    def start_worker(self, *arguments: str, actions: bool = True) -> "subprocess.Popen[bytes]":
        name = f"w{len(self.workers)}@test"
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "actions", "-n", name, *arguments]
        with (self.fleet.folder / f"{name}.log").open("wb") as log:
            self.workers.append(
                subprocess.Popen(
                    [*command, "--without-gossip", "--without-mingle", *(["-I", "handed_actions"] if actions else [])],
                    stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": f"{HERE.parents[1]}:{HERE}"},
                    start_new_session=True,
                )
            )  # fmt: skip
        return self.workers[-1]

    @staticmethod
    def kill(worker: "subprocess.Popen[bytes]") -> None:
        if worker.poll() is None:
            os.killpg(worker.pid, 9)
        worker.wait()

    @staticmethod
    def until(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.02)
        pytest.fail(f"not within {timeout} s")


@pytest.fixture
def floor(fleet: Fleet, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Floor]:
    """Two nodes, short leases, and real workers that are killed at the end."""
    monkeypatch.setenv("FLEETRING_LOCK_LEASE", "2")
    monkeypatch.setenv("FLEETRING_BMC_LOCK_DELAY", "0.2")
    settings.current.cache_clear()
    fleet.add_node("node-1")
    fleet.add_node("node-2")
    floor = Floor(fleet, valkey_url)
    yield floor
    for worker in floor.workers:
        floor.kill(worker)
    floor.broker.close()
