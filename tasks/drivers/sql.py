"""Subclouds whose identity service keeps its rows in a database of its own."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from sqlalchemy import Connection, Table, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tasks.drivers.base import SubcloudDriver, SyncReport
from tasks.drivers.central_rows import central_digest, central_rows, digest_of
from tasks.drivers.centre import Centre
from tasks.drivers.driver_info import DriverInfo
from tasks.drivers.identity_schema import check_shapes, ensure_tables
from tasks.drivers.identity_tables import IDENTITY, KEYS, audit, control
from tasks.drivers.replication import replicate
from tasks.drivers.sql_side import SUPPORTED, SqlSide


def _database_url(value: str) -> str:
    try:
        url = make_url(value)
    except ArgumentError as error:
        raise ValueError("must be a database URL, `sqlite:///FILE` for one") from error
    if url.get_backend_name() not in SUPPORTED:
        raise ValueError("must be a database of SQLite or PostgreSQL")
    if url.password:
        raise ValueError("must hold no password; name the credentials with `credentials`")
    return value


class SqlInfo(DriverInfo):
    """The driver_info of a sql subcloud.

    Attributes:
        database_url: The subcloud's own database, `sqlite:///FILE` or `postgresql+psycopg://HOST/NAME`; without a
            password.
        credentials: The name of its credentials. Defaults to none.
        connect_timeout: Seconds for a connection, above 0. Defaults to 5.
        statement_timeout: Seconds for each statement, above 0. Defaults to 60.
    """

    database_url: Annotated[str, AfterValidator(_database_url)]
    credentials: str | None = None
    connect_timeout: Annotated[float, Field(gt=0)] = 5.0
    statement_timeout: Annotated[float, Field(gt=0)] = 60.0


class SqlSubcloudDriver(SubcloudDriver):
    """Replicates identity rows and keys from the central database; driver_info is that of `SqlInfo`.

    The centre is read in one transaction, and each step is written in one: whenever it is cut off, the subcloud has
    all its old rows or all the new ones. Rows that are right already are not touched. Tables that the subcloud lacks
    are made.
    """

    Info = SqlInfo
    KEY_TABLES = tuple(table.name for table in KEYS)

    def _configure(self, driver_info: Mapping[str, Any]) -> None:
        info = SqlInfo.of(self.name, driver_info)
        self._subcloud = SqlSide(
            self.name,
            info.database_url,
            self._credentials.get(info.credentials, self.name) if info.credentials else None,
            connect_timeout=info.connect_timeout,
            statement_timeout=info.statement_timeout,
        )

    def probe(self) -> None:
        """Connect, or use the connection that there is, and ask for nothing."""
        self._subcloud.probe()

    def sync_identity(self) -> SyncReport:
        """Make users, groups, projects, roles and assignments those of the centre, ids and password hashes kept."""
        return self._replicate(IDENTITY)

    def distribute_keys(self) -> SyncReport:
        """Make the keys those of the centre."""
        return self._replicate(KEYS)

    def repair(self, tables: Collection[str]) -> SyncReport:
        """Make the rows of these tables those of the centre."""
        return self._replicate([table for table in (*IDENTITY, *KEYS) if table.name in tables])

    def reset_audit(self) -> None:
        """Forget what earlier audits found, for each table that follows the centre."""
        with self._subcloud.writing(self._guard) as connection:
            ensure_tables(self.name, connection)
            for table in sorted((*IDENTITY, *KEYS), key=lambda table: table.name):
                _put(connection, audit, {"resource_type": table.name}, {"last_audit_at": None, "findings": 0})

    def enable(self) -> None:
        """Mark in the subcloud's database that its rows now follow the centre's."""
        with self._subcloud.writing(self._guard) as connection:
            ensure_tables(self.name, connection)
            _put(connection, control, {"id": 1}, {"enabled": True})

    def digest(self) -> dict[str, str]:
        """A fingerprint of each table that follows the centre."""
        with self._subcloud.reading() as connection:
            check_shapes(self.name, connection)
            return digest_of(connection)

    @classmethod
    def central_digest(cls, centre: Centre) -> dict[str, str]:
        """The same of the centre."""
        return dict(central_digest(centre))

    def close(self) -> None:
        """Close the connection to the subcloud's database."""
        self._subcloud.close()

    def _replicate(self, tables: Sequence[Table]) -> SyncReport:
        wanted = central_rows(self._centre, tables)
        with self._subcloud.writing(self._guard) as connection:
            ensure_tables(self.name, connection)
            changes = {table.name: replicate(connection, table, wanted[table.name]) for table in tables}
        return SyncReport(
            inserted={name: change.inserted for name, change in changes.items()},
            updated={name: change.updated for name, change in changes.items()},
            deleted={name: change.deleted for name, change in changes.items()},
        )


def _put(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    where = [table.c[name] == value for name, value in key.items()]
    if connection.execute(select(table).where(*where)).first() is None:
        connection.execute(insert(table).values(key | values))
    else:
        connection.execute(update(table).where(*where).values(values))
