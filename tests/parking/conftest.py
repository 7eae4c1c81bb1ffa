"""Real workers that run node actions on fake machines, whose nodes are locked again and again."""

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import redis
from sqlalchemy import make_url

from tasks import app
from tasks.testing import live_fleet
from tests.processes import WorkerProcess, Workers

NODES = 6


@pytest.fixture(scope="session")
def actions(valkey: str) -> ModuleType:
    """The actions that the tests send."""
    return import_module("tests.parking.parking_actions")


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
    with live_fleet(folder, valkey, lock_url=lock_url, lock_lease=6, reconcile_every=0.5) as fleet:
        for number in range(1, NODES + 1):
            fleet.add_node(f"node-{number}")
        yield valkey


@pytest.fixture(scope="module")
def start_worker(fleet_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers that live for a whole module, unless a test ends them."""
    folder = tmp_path_factory.mktemp("workers")
    with Workers(folder, "tasks", "-I", "tests.parking.parking_actions", "-Q", "actions") as workers:
        yield workers.another


@pytest.fixture(scope="module")
def worker(start_worker: Callable[..., WorkerProcess]) -> WorkerProcess:
    """A worker with two slots."""
    return start_worker("-c", "2")


@pytest.fixture
def clean(worker: WorkerProcess, nothing_is_left: Callable[[], bool], wait_until: Callable[..., Any]) -> Iterator[None]:
    """A worker that leaves nothing behind when the test has ended."""
    yield
    wait_until(nothing_is_left)


@pytest.fixture
def broker(fleet_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(fleet_url, decode_responses=True) as client:
        client.delete("journal")
        yield client
        doors = client.keys("door:*")
        assert doors == [], "every door was gone through"


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
