import gc
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import pools

import tasks
from tests.processes import WorkerProcess, wait_until

HERE = Path(__file__).parent


@pytest.fixture
def url(valkey_url: str) -> str:
    return valkey_url


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture(scope="session")
def queue_app() -> ModuleType:
    specification = importlib.util.spec_from_file_location("queue_app", HERE / "queue_app.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


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


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def start_worker(url: str, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    workers: list[WorkerProcess] = []

    def start(*arguments: str, broker: str = url, wait: bool = True, **options: Any) -> WorkerProcess:
        number = len(workers)
        told = {"QUEUE_APP_URL": broker, "QUEUE_APP_OPTIONS": json.dumps({"restart_grace": 0, **options})}
        log = tmp_path / f"worker{number}.log"
        worker = WorkerProcess(log, "queue_app", HERE, "-n", f"w{number}@test", *arguments, environment=told)
        workers.append(worker)
        if wait:
            worker.wait_until_ready()
        return worker

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def journal(client: redis.Redis) -> Callable[..., list[str]]:
    """Return a function that lists the ids of tasks which came to an event, in order."""

    def ids(event: str = "ran") -> list[str]:
        lines = client.lrange("journal", 0, -1)
        return [task_id for name, task_id, _ in map(json.loads, lines) if name == event]

    return ids
