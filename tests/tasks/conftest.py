"""A fleet of fake machines and subclouds: real broker, real database, real locks."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from tasks import app, settings
from tasks.inventory import Node, Subcloud, nodes, subclouds


class Fleet:
    """The fleet that a test works on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_node(self, name: str, **driver_info: Any) -> Node:
        """Put a fake node into the inventory; its state is seen by every process."""
        info = {"state_dir": str(self.folder / "state"), **driver_info}
        uuid = f"00000000-0000-4000-8000-{int.from_bytes(name.encode()) % 10**12:012d}"
        with app.runtime.database.session() as session:
            session.execute(insert(Node).values(name=name, uuid=uuid, driver="fake", driver_info=info))
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
