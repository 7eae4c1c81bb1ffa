"""What goes wrong with a database: read-only, full, away."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, event, make_url

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
    with LockManager.from_url(read_only) as locks, pytest.raises(StoreError, match=r"readonly.*takes no writes"):
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


@pytest.fixture(params=["postgres_url", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> Iterator[URL]:
    """A database on a server with the tables of locks in it."""
    url = make_url(request.getfixturevalue(request.param))
    url = url.set(drivername="postgresql+psycopg") if url.get_backend_name() == "postgresql" else url
    shown = url.render_as_string(hide_password=False)
    with LockManager.from_url(shown, namespace="faults") as locks:
        locks.acquire("a").release()
    yield url
    with LockManager.from_url(shown, namespace="faults") as locks:
        assert locks.list() == (), "nothing was taken"
        assert locks.acquire("a").release()


_READ_ONLY = {
    "postgresql": {"options": "-c default_transaction_read_only=on"},
    "mysql": {"init_command": "SET SESSION TRANSACTION READ ONLY"},
}
_FULL = {
    "postgresql": [
        """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END$$""",
        "CREATE TRIGGER full_disk BEFORE INSERT ON faults_claims EXECUTE FUNCTION full_disk()",
        "DROP TRIGGER full_disk ON faults_claims",
    ],
    "mysql": [
        """CREATE TRIGGER full_disk BEFORE INSERT ON faults_claims FOR EACH ROW
        SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1021, MESSAGE_TEXT = 'Disk full'""",
        "DROP TRIGGER full_disk",
    ],
}


def test_a_server_that_takes_no_writes_is_named(server_url: URL) -> None:
    read_only = server_url.update_query_dict(_READ_ONLY[server_url.get_backend_name()])
    with LockManager.from_url(read_only.render_as_string(hide_password=False), namespace="faults") as locks:
        for ask in (locks.acquire, partial(locks.enqueue, "task")):
            with pytest.raises(StoreError, match=r"(?i)read.only.*takes no writes: give the address of the primary"):
                ask("a")


def test_a_server_that_is_full_is_named_and_nothing_is_taken(server_url: URL) -> None:
    # Given a server that says it has no room when a request would be written, as it does on a full disk
    engine = create_engine(server_url)
    *fill, make_room = _FULL[server_url.get_backend_name()]
    with LockManager.from_url(server_url.render_as_string(hide_password=False), namespace="faults") as locks:
        with engine.begin() as connection:
            for statement in fill:
                connection.exec_driver_sql(statement)
        try:
            # When locks are asked for, free or never seen, then each is refused by name, and leaves nothing
            for names in ("a", ["a", "new"]):
                with pytest.raises(StoreError, match="no room left: nothing was taken"):
                    locks.acquire(names)
            with pytest.raises(StoreError, match="no room left"):
                locks.enqueue("task", "a")
            assert locks.list() == ()
        finally:
            with engine.begin() as connection:
                connection.exec_driver_sql(make_room)
            engine.dispose()


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    with pytest.raises(StoreError, match="check that the database runs") as caught:
        LockManager.from_url("postgresql+psycopg://ann:secret@127.0.0.1:1/locks")
    assert "secret" not in str(caught.value)


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="can't be shared"):
        LockManager.from_url("sqlite://")
