"""The rows and keys of the centre, read in one transaction and kept for a moment for all subclouds."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, Table

from tasks.drivers.centre import Centre
from tasks.drivers.errors import CentreUnusable
from tasks.drivers.identity_tables import IDENTITY, KEYS, MUST_NOT_BE_EMPTY
from tasks.drivers.replication import Rows, fingerprint, read
from tasks.drivers.sql_side import SqlSide

_ROWS, _DIGEST = "sql rows", "sql digest"


def central_rows(centre: Centre, tables: Iterable[Table]) -> Mapping[str, Rows]:
    """The rows of these tables, by the names of the tables; all are of one moment.

    Raises:
        DriverError: the centre cannot be read, or has no rows where every centre has some: that is a fault, not a wish.
    """
    rows = centre.cached(_ROWS, lambda: _read(centre.url))
    wanted = {table.name: rows[table.name] for table in tables}
    if empty := sorted(name for name in wanted if name in MUST_NOT_BE_EMPTY and not wanted[name]):
        reason = f"it has no {' and no '.join(empty)}, so nothing was replicated"
        raise CentreUnusable("the centre", "", reason)
    return wanted


def central_digest(centre: Centre) -> Mapping[str, str]:
    """A fingerprint of each of the centre's tables.

    Raises:
        DriverError: the centre cannot be read.
    """
    tables = (*IDENTITY, *KEYS)
    return centre.cached(
        _DIGEST, lambda: {name: fingerprint(rows) for name, rows in central_rows(centre, tables).items()}
    )


def digest_of(connection: Connection) -> dict[str, str]:
    """A fingerprint of each table that a connection sees."""
    return {name: fingerprint(rows) for name, rows in _rows_of(connection).items()}


def _read(url: str) -> dict[str, Rows]:
    side = SqlSide("the centre", url)
    try:
        with side.reading() as connection:
            return _rows_of(connection)
    finally:
        side.close()


def _rows_of(connection: Connection) -> dict[str, Rows]:
    return {table.name: read(connection, table) for table in (*IDENTITY, *KEYS)}
