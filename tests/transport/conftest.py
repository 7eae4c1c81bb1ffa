import gc
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import pools

import tasks
from tests.processes import WorkerProcess, Workers


@pytest.fixture
def url(valkey_url: str) -> str:
    return valkey_url


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture(scope="session")
def queue_app() -> ModuleType:
    return import_module("tests.transport.queue_app")


@pytest.fixture
def app(url: str, queue_app: ModuleType) -> Iterator[Celery]:
    app = queue_app.make_app(url)
    app.set_current()
    yield app
    app.backend.result_consumer.stop()
    app.close()
    pools.reset()
    gc.collect()


@pytest.fixture(scope="module", autouse=True)
def other_applications() -> Iterator[None]:
    """A reset of kombu's pools closes those of every application: the next test file's are opened anew."""
    yield
    tasks.app._after_fork()


@pytest.fixture
def start_worker(url: str, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    with Workers(tmp_path, "tests.transport.queue_app") as workers:

        def start(*arguments: str, broker: str = url, wait: bool = True, **options: Any) -> WorkerProcess:
            told = json.dumps({"restart_grace": 0, **options})
            return workers.another(*arguments, wait=wait, QUEUE_APP_URL=broker, QUEUE_APP_OPTIONS=told)

        yield start


@pytest.fixture
def journal(client: redis.Redis) -> Callable[..., list[str]]:
    """Return a function that lists the ids of tasks which came to an event, in order."""

    def ids(event: str = "ran") -> list[str]:
        lines = client.lrange("journal", 0, -1)
        return [task_id for name, task_id, _ in map(json.loads, lines) if name == event]

    return ids
