"""One database of a replication: short transactions with time limits, and errors that say whose database it is."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, OperationalError

from tasks.drivers.base import Guard
from tasks.drivers.credentials import Credential
from tasks.drivers.errors import (
    CredentialsRefused,
    DriverError,
    DriverRejected,
    DriverTimeout,
    DriverUnreachable,
    InvalidDriverInfo,
)

SUPPORTED = frozenset({"sqlite", "postgresql"})
"""The databases that rows can be replicated between, by SQLAlchemy's names."""

# PostgreSQL's query_canceled (by statement_timeout) and lock_not_available.
_OUT_OF_TIME = frozenset({"57014", "55P03"})

# PostgreSQL's classes of errors about the connection, resources, and a shutdown.
_NO_CONNECTION = ("08", "53", "57P")

# Its class of errors about the login. At the connect the driver tells of those in the server's words only; where they
# are no English ones, a login that is refused counts as no connection.
_LOGIN = "28"
_LOGIN_REFUSED = re.compile(
    "authentication failed|no password supplied|no pg_hba.conf entry"
    '|role ".*" (does not exist|is not permitted to log in)'
)
_NO_DATABASE = re.compile('database ".*" does not exist')

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

    def probe(self) -> None:
        """Ask whether the database answers; a SQLite file that is not there yet can be made, if its folder is there."""
        file = Path(self._url.database or "")
        if self._backend == "sqlite" and not file.exists():
            if not file.parent.is_dir():
                raise self._error(DriverUnreachable, "there is no such folder")
            return
        with self.reading() as connection:
            connection.exec_driver_sql("SELECT 1")

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
            raise self._translation(error, " ".join(str(error.orig).split())) from error

    def _translation(self, error: DBAPIError, reason: str) -> DriverError:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state in _OUT_OF_TIME or reason == "database is locked":
            return self._error(DriverTimeout, f"the database does not answer in time ({reason})")
        if state.startswith(_LOGIN) or _LOGIN_REFUSED.search(reason):
            return self._error(CredentialsRefused, f"the database refuses the login ({reason})")
        if _NO_DATABASE.search(reason):
            remedy = "make the database there, or correct database_url in driver_info"
            return self._error(DriverRejected, f"the server has no such database ({reason})", remedy)
        if _is_connection_error(error):
            return self._error(DriverUnreachable, f"no connection to the database ({reason})")
        if isinstance(error, IntegrityError):
            remedy = "the database has a constraint that the centre lacks: drop that, or change the centre's row"
            return self._error(DriverRejected, f"a row of the centre clashes ({reason})", remedy)
        return self._error(DriverRejected, f"the database refuses ({reason})")

    def _error(self, kind: type[DriverError], reason: str, remedy: str = "") -> DriverError:
        return kind(self._target, self._url.render_as_string(hide_password=True), reason, remedy)


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
