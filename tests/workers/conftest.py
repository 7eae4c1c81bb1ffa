"""Real worker processes that several tests share, on the suite's broker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from tasks import app, settings
from tasks.presence import WORKERS
from tasks.queue_ownership import coordinator_of
from tasks.workers import Register, Worker, overview

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


class Process:
    """One worker process."""

    def __init__(self, name: str, folder: Path, *arguments: str, **environment: str) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-n", name, "-l", "INFO"]
        options = ["-I", "worker_tasks", "--without-gossip", "--without-mingle", *arguments]
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                [*command, *options],
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, "TEST_RESTART_GRACE": "0", **environment},
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)


class Processes:
    """The worker processes of a module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Process] = []

    def start(self, name: str, *arguments: str, **environment: str) -> Process:
        for process in self._started:
            if process.name == name and process.process.poll() is None:  # of a run of the test that failed
                process.end(signal.SIGKILL)
        self._started.append(Process(name, self.folder, *arguments, **environment))
        return self._started[-1]

    def end(self) -> None:
        for process in self._started:
            if process.process.poll() is None:
                process.process.send_signal(signal.SIGKILL)
                process.process.wait(30)


@pytest.fixture(scope="module")
def work(workers: Processes) -> ModuleType:
    """The tasks and managers that the workers load."""
    return import_module("worker_tasks")


@pytest.fixture(scope="module")
def workers(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts workers on an empty broker, in a folder of the module's own."""
    folder = tmp_path_factory.mktemp("workers")
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETRING_DATABASE_URL", f"sqlite:///{folder}/fleet.db")
        patch.setenv("FLEETRING_SLOTS", "2")
        patch.setenv("PYTHONPATH", f"{REPOSITORY}:{HERE}")
        patch.syspath_prepend(str(HERE))
        patch.chdir(folder)
        settings.current.cache_clear()
        started = Processes(folder)
        yield started
        started.end()
    settings.current.cache_clear()


def wait_until(condition: Callable[[], Any], timeout: float = 40.0) -> Any:
    """Return the first true value of `condition`; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"not within {timeout} s")


@pytest.fixture(name="wait_until", scope="session")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def known() -> Callable[[str], Worker | None]:
    """Finds a worker by its name, as the command line does."""

    def find(name: str) -> Worker | None:
        group = coordinator_of(app.settings).view(WORKERS)
        with app.queues() as queues:
            found = overview(Register(app), group, queues, lease=app.settings.member_lease)
        return next((worker for worker in found if worker.name == name), None)

    return find
