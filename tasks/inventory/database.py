"""The inventory database: one engine, its sessions and its schema."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError
from tenacity import retry, retry_if_exception_message, stop_after_delay, wait_random

from tasks.inventory import migration
from tasks.inventory.errors import ConcurrentChange, DatabaseNotMigrated, DatabaseUnreachable, InventoryError

_BUSY_TIMEOUT = 15.0
_CONNECT_TIMEOUT = 5

# A server that vanished without a word is noticed after 25 seconds, not after the kernel's two hours.
_NOTICE_DEAD_PEERS = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}

# PostgreSQL's undefined_table and undefined_column.
_MISSING_IN_POSTGRESQL = frozenset({"42P01", "42703"})
_MISSING_IN_SQLITE = ("no such table", "no such column")

# PostgreSQL's classes of errors about the connection, the login, the database's name, resources, and a shutdown.
_UNUSABLE_POSTGRESQL = ("08", "28", "3D", "53", "57P")


class Database:
    """The inventory database.

    Nothing connects before the first use. One object serves all threads of a process; a forked child calls
    `after_fork` before it uses the parent's.

    Args:
        url: `sqlite:///fleet.db` or `postgresql+psycopg://user:password@host/name`, as SQLAlchemy writes them.

    Raises:
        InventoryError: when the URL is malformed, or of a database that is neither SQLite nor PostgreSQL.
    """

    def __init__(self, url: str | URL) -> None:
        self._url = _parse(url)
        self.engine = _sqlite_engine(self._url) if self._url.get_backend_name() == "sqlite" else _engine(self._url)

    @property
    def address(self) -> str:
        """The database's URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that may write: committed at the end of the block, rolled back when the block raises.

        On SQLite the transaction takes the write lock at its first statement, so that two writers queue (15 s at most)
        where they would otherwise fail half-way.

        Raises:
            DatabaseUnreachable: when the database does not answer, also in the middle of the block.
            DatabaseNotMigrated: when tables or columns are missing.
            ConcurrentChange: when a row was changed by somebody else since the block loaded it.
        """
        engine = self.engine.execution_options(write=True)
        with self._translated(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that delays no writer; what it changes is not kept.

        Raises:
            DatabaseUnreachable: when the database does not answer, also in the middle of the block.
            DatabaseNotMigrated: when tables or columns are missing.
        """
        with self._translated(), Session(self.engine, expire_on_commit=False, autoflush=False) as session:
            yield session

    def revision(self) -> str | None:
        """The schema revision of the database, None when it was never migrated."""
        with self._translated(), self.engine.connect() as connection:
            return migration.current(connection)

    def pending(self) -> list[str]:
        """The revisions that `upgrade` would apply, oldest first."""
        with self._translated(), self.engine.connect() as connection:
            return migration.pending(connection)

    def upgrade(self) -> list[str]:
        """Bring the schema to the newest revision, in one transaction, and return the revisions that were applied.

        Several processes may call it at the same time.
        """
        with self._translated(), self.engine.execution_options(write=True).begin() as connection:
            return migration.upgrade(connection)

    def ensure_migrated(self) -> None:
        """Raise DatabaseNotMigrated unless the schema is the one that this version of the code needs."""
        if missing := self.pending():
            raise DatabaseNotMigrated(self.address, f"lacks revision {', '.join(missing)}")

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them; call it in a forked child before anything else."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close all idle connections; the object connects anew when it is used again."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except migration.UnknownRevision as error:
            raise DatabaseNotMigrated(
                self.address, f"has revision {error}, which this version does not know", "install the newer Fleetring"
            ) from error
        except StaleDataError as error:
            raise ConcurrentChange("a row was changed by somebody else meanwhile: load it again and retry") from error
        except DBAPIError as error:
            if _lacks_schema(error):
                raise DatabaseNotMigrated(self.address, "lacks tables or columns") from error
            if _is_unusable(error):
                raise DatabaseUnreachable(self.address, " ".join(str(error.orig).split())) from error
            raise


def _parse(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise InventoryError(f"database_url is no database URL ({error}); legal is sqlite:///FILE, for one") from error
    if backend not in {"sqlite", "postgresql"}:
        raise InventoryError(f"the inventory lives in SQLite or PostgreSQL, not in {backend}: change database_url")
    return parsed


def _engine(url: URL) -> Engine:
    # Prepared statements live in a server session, and behind a transaction pooler each transaction may meet another.
    options = {"connect_timeout": _CONNECT_TIMEOUT, "prepare_threshold": None, **_NOTICE_DEAD_PEERS}
    try:
        return create_engine(url, pool_pre_ping=True, connect_args=options)
    except ImportError as error:
        raise InventoryError(f"{error}: install the extra of it, `pip install fleetring[postgres]`") from error


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _entry: object) -> None:
    connection.isolation_level = None
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


# The first switch of a file does not wait for others that open it at the same moment, as statements do.
@retry(
    retry=retry_if_exception_message(message="database is locked"),
    stop=stop_after_delay(_BUSY_TIMEOUT),
    wait=wait_random(0.01, 0.1),
    reraise=True,
)
def _switch_to_wal(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    # The driver's own BEGIN comes late and not before DDL; see "Enabling Non-Legacy SQLite Transactional Modes" in
    # SQLAlchemy's documentation of the dialect.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN DEFERRED")


def _is_unusable(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return isinstance(error, OperationalError)
    state = getattr(error.orig, "sqlstate", None)
    broken = isinstance(error, OperationalError) and (state is None or state.startswith(_UNUSABLE_POSTGRESQL))
    return broken or error.connection_invalidated


def _lacks_schema(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return str(error.orig).startswith(_MISSING_IN_SQLITE)
    return getattr(error.orig, "sqlstate", None) in _MISSING_IN_POSTGRESQL
