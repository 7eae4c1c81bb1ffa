"""A broker of the suite's own, the pool's verbs on it, and real worker processes."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from tasks import app, settings
from tests.processes import WorkerProcess, wait_until

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def work(valkey: str) -> ModuleType:
    """The tasks that the tests add."""
    specification = importlib.util.spec_from_file_location("pool_tasks", HERE / "pool_tasks.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def broker(valkey_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """The broker, empty."""
    monkeypatch.setenv("FLEETRING_DATABASE_URL", f"sqlite:///{folder}/fleet.db")
    monkeypatch.setenv("FLEETRING_SLOTS", "2")
    settings.current.cache_clear()
    with redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        yield client
    settings.current.cache_clear()


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    workers: list[WorkerProcess] = []

    def start(*arguments: str) -> WorkerProcess:
        number = len(workers)
        usual = ("-I", "pool_tasks", "-Q", "actions", "-n", f"w{number}@test")
        worker = WorkerProcess(tmp_path / f"worker{number}.log", "tasks", HERE, *usual, *arguments)
        workers.append(worker)
        worker.wait_until_ready()
        return worker

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def journal(broker: redis.Redis) -> Callable[..., list[dict[str, Any]]]:
    """Lists what tasks told, of one event or of all."""

    def read(event: str | None = None) -> list[dict[str, Any]]:
        told = map(json.loads, broker.lrange("journal", 0, -1))
        return [entry for entry in told if event in {None, entry["event"]}]

    return read


@pytest.fixture
def open_door(broker: redis.Redis) -> Callable[[str], int]:
    """Lets one task go on that waits at a door."""
    return lambda name: int(broker.rpush(f"door:{name}", "open"))


@pytest.fixture(autouse=True)
def _close(broker: redis.Redis) -> Iterator[None]:
    yield
    app.runtime.close()
