"""One database of a replication: short transactions with time limits, and errors that say whose database it is."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from tasks.drivers.base import Guard
from tasks.drivers.credentials import Credential
from tasks.drivers.errors import DriverError, DriverRejected, DriverTimeout, DriverUnreachable, InvalidDriverInfo

SUPPORTED = frozenset({"sqlite", "postgresql"})
"""The databases that rows can be replicated between, by SQLAlchemy's names."""

# PostgreSQL's query_canceled (by statement_timeout) and lock_not_available.
_OUT_OF_TIME = frozenset({"57014", "55P03"})

# PostgreSQL's classes of errors about the connection, the login, the database's name, resources, and a shutdown.
_NO_CONNECTION = ("08", "28", "3D", "53", "57P")

# A server that vanished without a word is noticed after 25 seconds, not after the kernel's two hours.
_NOTICE_DEAD_PEERS = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class SqlSide:
    """A database that rows are read from or written to; SQLite and PostgreSQL.

    Nothing connects before the first transaction.

    Args:
        target: Whose database it is, for errors.
        url: Its URL.
        credential: User name and password that replace those of the URL. Defaults to the URL's.
        connect_timeout: Seconds for the connection. Defaults to 5.
        statement_timeout: Seconds for each statement. Defaults to 60.

    Raises:
        InvalidDriverInfo: when the URL is malformed, or of another database.
    """

    def __init__(
        self,
        target: str,
        url: str,
        credential: Credential | None = None,
        *,
        connect_timeout: float = 5.0,
        statement_timeout: float = 60.0,
    ) -> None:
        self._target = target
        self._url = _parse(target, url)
        if credential is not None and self._backend == "postgresql":
            self._url = self._url.set(username=credential.username, password=credential.password.get_secret_value())
        self._statement_timeout = statement_timeout
        self._engine = self._make_engine(connect_timeout)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one consistent picture of a database that must exist."""
        if self._backend == "sqlite" and not Path(self._url.database or "").exists():
            raise self._error(DriverUnreachable, "there is no such file")
        with self._translated(), self._engine.connect() as connection:
            if self._backend == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
            self._begin(connection, "BEGIN")
            yield connection

    @contextmanager
    def writing(self, guard: Guard) -> Iterator[Connection]:
        """A transaction, committed at the end of the block; the guard is asked before its begin and its commit."""
        guard()
        with self._translated(), self._engine.begin() as connection:
            self._begin(connection, "BEGIN IMMEDIATE")
            yield connection
            guard()

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    @property
    def _backend(self) -> str:
        return self._url.get_backend_name()

    def _make_engine(self, connect_timeout: float) -> Engine:
        if self._backend == "sqlite":
            return create_engine(self._url, connect_args={"timeout": self._statement_timeout})
        options = {"connect_timeout": max(1, round(connect_timeout)), "prepare_threshold": None, **_NOTICE_DEAD_PEERS}
        return create_engine(self._url, pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=options)

    def _begin(self, connection: Connection, sqlite_begin: str) -> None:
        if self._backend == "sqlite":
            connection.exec_driver_sql(sqlite_begin)
        else:
            milliseconds = round(self._statement_timeout * 1000)
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            if getattr(error.orig, "sqlstate", None) in _OUT_OF_TIME or reason == "database is locked":
                raise self._error(DriverTimeout, f"the database does not answer in time ({reason})") from error
            if _is_connection_error(error):
                raise self._error(DriverUnreachable, f"no connection to the database ({reason})") from error
            raise self._error(DriverRejected, f"the database refuses ({reason})") from error

    def _error(self, kind: type[DriverError], reason: str) -> DriverError:
        return kind(self._target, self._url.render_as_string(hide_password=True), reason)


def _is_connection_error(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return str(error.orig).startswith("unable to open")
    state = getattr(error.orig, "sqlstate", None)
    broken = isinstance(error, OperationalError) and (state is None or state.startswith(_NO_CONNECTION))
    return broken or error.connection_invalidated


def _parse(target: str, url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise InvalidDriverInfo(target, "", f"its database URL is malformed ({error})") from error
    if parsed.get_backend_name() not in SUPPORTED:
        raise InvalidDriverInfo(target, "", f"its database is {parsed.get_backend_name()}, not SQLite or PostgreSQL")
    return parsed
