"""A broker of the suite's own, the pool's verbs on it, and real worker processes."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import redis

from tasks import app, settings
from tests.processes import WorkerProcess, Workers


@pytest.fixture(scope="session")
def work(valkey: str) -> ModuleType:
    """The tasks that the tests add."""
    return import_module("tests.pool.pool_tasks")


@pytest.fixture(autouse=True)
def broker(valkey_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """The broker, empty."""
    monkeypatch.setenv("FLEETRING_DATABASE_URL", f"sqlite:///{folder}/fleet.db")
    monkeypatch.setenv("FLEETRING_SLOTS", "2")
    settings.current.cache_clear()
    with redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        yield client
    settings.current.cache_clear()


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    with Workers(tmp_path, "tasks", "-I", "tests.pool.pool_tasks", "-Q", "actions") as workers:
        yield workers.another


@pytest.fixture(autouse=True)
def _close(broker: redis.Redis) -> Iterator[None]:
    yield
    app.runtime.close()
