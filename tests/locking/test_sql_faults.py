"""What goes wrong with a database: read-only, full, away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from locking import InvalidRequest, LockManager, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "locks.db"
    with LockManager.from_url(f"sqlite:///{path}") as locks:
        locks.acquire("a").release()
    yield path
    with LockManager.from_url(f"sqlite:///{path}") as locks:
        assert locks.list() == (), "nothing was taken"


def test_a_database_that_may_only_be_read_is_named(path: Path) -> None:
    read_only = f"sqlite:///file:{path}?mode=ro&uri=true"
    with LockManager.from_url(read_only) as locks, pytest.raises(StoreError, match=r"readonly.*may write"):
        locks.acquire("a")


def test_a_database_that_is_full_is_named_and_nothing_is_taken(path: Path) -> None:
    with LockManager.from_url(f"sqlite:///{path}") as locks:
        engine = locks._owner.store._engine  # type: ignore[attr-defined]  # a SqlStore

        @event.listens_for(engine, "connect")
        def no_more_pages(connection: object, _: object) -> None:
            connection.execute("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]  # of SQLite's driver

        engine.dispose()
        with pytest.raises(StoreError, match="full"):
            locks.acquire([f"{number}{'x' * 400}" for number in range(500)])


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    with pytest.raises(StoreError, match="check that the database runs") as caught:
        LockManager.from_url("postgresql+psycopg://ann:secret@127.0.0.1:1/locks")
    assert "secret" not in str(caught.value)


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="can't be shared"):
        LockManager.from_url("sqlite://")
