"""The centre's Fernet keys, and their rotation.

As in OpenStack Keystone the key of index 0 is staged: it decrypts already and will be the next primary. The highest
index is the primary key, which encrypts; those between are old ones, which still decrypt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography.fernet import Fernet
from sqlalchemy import Connection, delete, insert, select, update

from locking import server_now
from tasks.drivers.base import unguarded
from tasks.drivers.identity_tables import fernet_keys, metadata
from tasks.drivers.sql_side import SqlSide

STAGED = 0
"""The index of the staged key."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key without its body: its index, what it is for, and since when there is it (epoch seconds)."""

    index: int
    role: Literal["staged", "primary", "secondary"]
    created_at: float


def keys(url: str) -> list[Key]:
    """The keys of the central database at this URL, the primary one first and the staged one last.

    Raises:
        DriverError: they cannot be read.
    """
    side = SqlSide("the centre", url)
    try:
        with side.reading() as connection:
            return _described(connection)
    finally:
        side.close()


def rotate(url: str, *, max_active: int) -> list[Key]:
    """Make the staged key the primary one, stage a new one, and drop the oldest; return the keys there are then.

    Where no key is staged one is staged, and nothing else is done; an empty table gets a primary key, too. One
    rotation at a time: the caller sees to that.

    Args:
        url: the central database.
        max_active: how many keys are left at the most, 3 or more.

    Raises:
        DriverError: the database cannot be written; the keys are as they were.
    """
    side = SqlSide("the centre", url)
    try:
        with side.writing(unguarded) as connection:
            metadata.create_all(connection)
            _rotate(connection, max_active)
            return _described(connection)
    finally:
        side.close()


def _rotate(connection: Connection, max_active: int) -> None:
    indexes = _indexes(connection)
    primary = max(indexes, default=STAGED)
    if primary == STAGED:
        _add(connection, primary + 1)
    elif STAGED in indexes:
        connection.execute(update(fernet_keys).where(fernet_keys.c.key_index == STAGED).values(key_index=primary + 1))
    if STAGED not in indexes or primary != STAGED:
        _add(connection, STAGED)
    active = _indexes(connection)
    old = active[1 : max(1, len(active) - max_active + 1)]
    connection.execute(delete(fernet_keys).where(fernet_keys.c.key_index.in_(old)))


def _indexes(connection: Connection) -> Sequence[int]:
    return connection.scalars(select(fernet_keys.c.key_index).order_by(fernet_keys.c.key_index)).all()


def _add(connection: Connection, index: int) -> None:
    body = Fernet.generate_key().decode()
    connection.execute(insert(fernet_keys).values(key_index=index, body=body, created_at=server_now()))


def _described(connection: Connection) -> list[Key]:
    columns = (fernet_keys.c.key_index, fernet_keys.c.created_at)
    rows = connection.execute(select(*columns).order_by(fernet_keys.c.key_index.desc())).all()
    return [Key(row.key_index, _role(row.key_index, rows[0].key_index), row.created_at) for row in rows]


def _role(index: int, primary: int) -> Literal["staged", "primary", "secondary"]:
    if index == STAGED:
        return "staged"
    return "primary" if index == primary else "secondary"
