"""The pytest plug-in: fixtures ``fleet`` and ``live_fleet``.

It is named in ``pytest_plugins`` rather than found by an entry point: that would import Celery and SQLAlchemy into
every test run of every environment in which Fleetring is installed, and take the name ``fleet`` from other tests.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.testing import fleet as fleets


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[fleets.Fleet]:
    """A fleet without broker and workers: ``delay`` runs an action at once, in the process of the test."""
    with fleets.eager_fleet(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def fleet_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a private Valkey for all tests."""
    with fleets.private_broker(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def live_fleet(tmp_path: Path, fleet_broker: str) -> Iterator[fleets.LiveFleet]:
    """A fleet with a broker of its own, empty for each test; ``with live_fleet.worker():`` starts a worker process."""
    with fleets.live_fleet(tmp_path, fleet_broker) as made:
        yield made
