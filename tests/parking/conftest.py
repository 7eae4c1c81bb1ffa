"""Real workers that run node actions on fake machines, whose nodes are locked again and again."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from sqlalchemy import insert, make_url

from tasks import app, settings
from tasks.inventory import Node

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
NODES = 6


@pytest.fixture(scope="session")
def actions(valkey: str) -> ModuleType:
    """The actions that the tests send."""
    specification = importlib.util.spec_from_file_location("parking_actions", HERE / "parking_actions.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def wait_until(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Return the first true value of `condition`; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    pytest.fail(f"not within {timeout} s: {condition}")


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until


class Worker:
    """One real Celery worker process."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-l", "INFO", "-I", "parking_actions"]
        paths = {"PYTHONPATH": f"{REPOSITORY}:{HERE}", "PYTHONWARNINGS": "ignore"}
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "-Q", "actions", "--without-gossip", "--without-mingle", *arguments],
                env=os.environ | paths | environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        """End the worker and its children without a chance to do anything."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module", params=["redis", "sqlite", "postgresql"])
def lock_url(request: pytest.FixtureRequest, valkey: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the locks are: each test of parking is one of all stores."""
    if request.param == "redis":
        return valkey
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('locks')}/locks.db"
    server = make_url(request.getfixturevalue("postgres"))
    return server.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def fleet_url(valkey: str, lock_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The broker of a fleet of fake machines, whose settings are in the environment for a whole module."""
    folder = tmp_path_factory.mktemp("fleet")
    with redis.Redis.from_url(valkey) as client, pytest.MonkeyPatch.context() as patch:
        client.flushall()
        patch.setenv("FLEETRING_DATABASE_URL", f"sqlite:///{folder}/fleet.db")
        patch.setenv("FLEETRING_LOCK_URL", lock_url)
        patch.setenv("FLEETRING_LOCK_LEASE", "6")
        patch.setenv("FLEETRING_RECONCILE_EVERY", "0.5")
        patch.chdir(folder)
        settings.current.cache_clear()
        app.runtime.database.upgrade()
        with app.runtime.database.session() as session:
            for number in range(1, NODES + 1):
                uuid = f"00000000-0000-4000-8000-{number:012d}"
                session.execute(insert(Node).values(name=f"node-{number}", uuid=uuid, driver="fake", driver_info={}))
        yield valkey
    app.runtime.close()
    settings.current.cache_clear()


@pytest.fixture(scope="module")
def start_worker(fleet_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Worker]]:
    """Starts workers that live for a whole module, unless a test ends them."""
    folder = tmp_path_factory.mktemp("workers")
    workers: list[Worker] = []

    def start(*arguments: str, **environment: str) -> Worker:
        number = len(workers)
        worker = Worker(folder / f"worker{number}.log", "-n", f"w{number}@test", *arguments, **environment)
        workers.append(worker)
        wait_until(lambda: "ready." in worker.output or worker.process.poll() is not None)
        return worker

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def broker(fleet_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(fleet_url, decode_responses=True) as client:
        client.delete("journal")
        yield client
        doors = client.keys("door:*")
        assert doors == [], "every door was gone through"


@pytest.fixture
def journal(broker: redis.Redis) -> Callable[..., list[dict[str, Any]]]:
    """Lists what actions told, of one event or of all."""

    def read(event: str | None = None) -> list[dict[str, Any]]:
        told = map(json.loads, broker.lrange("journal", 0, -1))
        return [entry for entry in told if event in {None, entry["event"]}]

    return read


@pytest.fixture
def open_door(broker: redis.Redis) -> Callable[[str], int]:
    """Lets one action go on that waits at a door."""
    return lambda name: int(broker.rpush(f"door:{name}", "open"))


@pytest.fixture
def began(journal: Callable[..., list[dict[str, Any]]]) -> Callable[[], list[str]]:
    """Lists the ids of the actions whose bodies began, in their order."""
    return lambda: [entry["id"] for entry in journal("began")]


@pytest.fixture
def nothing_is_left(broker: redis.Redis) -> Callable[[], bool]:
    """Tells whether neither tasks nor locks are left anywhere."""

    def look() -> bool:
        kept = {"{locks}:clock", "{locks}:times"}
        rests = [key for key in broker.keys("{locks}:*") if key not in kept] + [
            request for request in broker.zrange("{locks}:times", 0, -1) if not request.startswith("\0")
        ]
        tasks = broker.keys("fleetring:q:*:tasks") + broker.keys("fleetring:recalled")
        return not rests and not tasks and not app.runtime.locks.list()

    return look


@pytest.fixture
def broker_client(valkey: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey) as client:
        yield client
