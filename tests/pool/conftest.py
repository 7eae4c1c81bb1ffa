"""A broker of the suite's own, the pool's verbs on it, and real worker processes."""

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

from tasks import app, settings

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


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

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-l", "INFO", "-I", "pool_tasks"]
        environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{HERE}", "PYTHONWARNINGS": "ignore"}
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "-Q", "actions", "--without-gossip", "--without-mingle", *arguments],
                env=environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        """End the worker and its children without a chance to do anything."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> None:
        """Ask the worker to end, as an operator would, its tasks first."""
        self.process.send_signal(signal.SIGTERM)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(*arguments: str) -> Worker:
        name = f"w{len(workers)}@test"
        worker = Worker(tmp_path / f"worker{len(workers)}.log", "-n", name, *arguments)
        workers.append(worker)
        wait_until(lambda: "ready." in worker.output or worker.process.poll() is not None)
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
