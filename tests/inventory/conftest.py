"""An inventory database of each kind, empty for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.inventory import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'inventory.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty inventory."""
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()
