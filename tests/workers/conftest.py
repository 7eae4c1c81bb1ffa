"""Real worker processes that several tests share, on the suite's broker."""

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType

import pytest
import redis

from tasks import app, settings
from tasks.presence import WORKERS
from tasks.queue_ownership import coordinator_of
from tasks.workers import Register, Worker, overview
from tests.processes import Workers


@pytest.fixture(scope="module")
def work(workers: Workers) -> ModuleType:
    """The tasks and managers that the workers load."""
    return import_module("tests.workers.worker_tasks")


@pytest.fixture(scope="module")
def workers(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Starts workers on an empty broker, in a folder of the module's own."""
    folder = tmp_path_factory.mktemp("workers")
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETRING_DATABASE_URL", f"sqlite:///{folder}/fleet.db")
        patch.setenv("FLEETRING_SLOTS", "2")
        patch.chdir(folder)
        settings.current.cache_clear()
        with Workers(folder, "tasks", "-I", "tests.workers.worker_tasks") as workers:
            yield workers
    settings.current.cache_clear()


@pytest.fixture
def known() -> Callable[[str], Worker | None]:
    """Finds a worker by its name, as the command line does."""

    def find(name: str) -> Worker | None:
        group = coordinator_of(app.settings).view(WORKERS)
        with app.queues() as queues:
            found = overview(Register(app), group, queues, lease=app.settings.member_lease)
        return next((worker for worker in found if worker.name == name), None)

    return find
