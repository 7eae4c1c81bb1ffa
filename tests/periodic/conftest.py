"""Periodic tasks of a test's own, in the process and in Redis."""

from collections.abc import Iterator

import pytest
from redis import Redis

from tasks import app, settings
from tasks.periodic import PeriodicTask, declarations
from tests.periodic.lab import Lab


@pytest.fixture
def system(valkey_url: str) -> Iterator[Lab]:
    """The periodic tasks of the system, as they are declared."""
    settings.current.cache_clear()
    app.loader.import_default_modules()
    with Redis.from_url(valkey_url, decode_responses=True) as client:
        lab = Lab(client)
        yield lab
        for scheduler in lab.beats:
            scheduler.close()
    app.runtime.close()
    settings.current.cache_clear()


@pytest.fixture
def lab(system: Lab) -> Iterator[Lab]:
    """No periodic tasks but the test's own."""
    before = {name: task for name, task in app.tasks.items() if isinstance(task, PeriodicTask)}
    known = dict(declarations._known)
    for name in before:
        app.tasks.pop(name)
    yield system
    for name in [name for name, task in app.tasks.items() if isinstance(task, PeriodicTask)]:
        app.tasks.pop(name)
    app.tasks.update(before)
    declarations._known = known
