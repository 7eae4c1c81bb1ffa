"""Makes one table's rows those of another by difference, and tells tables apart by their fingerprints."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, UniqueConstraint, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

#: Both databases have the same words for it, and SQLAlchemy a function for each.
_INSERTS: Mapping[str, Callable[[Table], Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
Key = tuple[Any, ...]
Rows = Mapping[Key, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Changes:
    """How many rows of a table were changed, and how."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def read(connection: Connection, table: Table) -> Rows:
    """All rows of the table by their primary keys, ordered by them."""
    return keyed(table, (row._asdict() for row in connection.execute(select(table))))


def keyed(table: Table, rows: Iterable[Mapping[str, Any]]) -> Rows:
    """The rows by their primary keys, ordered by them in Python: databases differ in how they order text."""
    names = [column.name for column in table.primary_key]
    by_key = {tuple(row[name] for name in names): row for row in rows}
    return dict(sorted(by_key.items()))


def replicate(connection: Connection, table: Table, wanted: Rows) -> Changes:
    """Make the table's rows the wanted ones, in the caller's transaction: delete, then upsert, each in key order.

    A row whose unique name changes is deleted and inserted again, so that two rows may exchange their names; it counts
    as updated.
    """
    present = read(connection, table)
    gone = [key for key in present if key not in wanted]
    new = [key for key in wanted if key not in present]
    changed = [key for key in wanted if key in present and wanted[key] != present[key]]
    renamed = [key for key in changed if _unique_parts(table, wanted[key]) != _unique_parts(table, present[key])]
    _delete(connection, table, sorted([*gone, *renamed]))
    _upsert(connection, table, [wanted[key] for key in sorted([*new, *changed])])
    return Changes(inserted=len(new), updated=len(changed), deleted=len(gone))


def fingerprint(rows: Rows) -> str:
    """The SHA-256 (hexadecimal) of the rows: equal for equal rows, whatever database they come from."""
    digest = hashlib.sha256()
    for row in rows.values():
        digest.update(json.dumps(dict(row), sort_keys=True).encode())
    return digest.hexdigest()


def _unique_parts(table: Table, row: Mapping[str, Any]) -> list[Any]:
    constraints = sorted(
        (constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)),
        key=lambda constraint: str(constraint.name),
    )
    return [row[column.name] for constraint in constraints for column in constraint.columns]


def _delete(connection: Connection, table: Table, keys: Sequence[Key]) -> None:
    if keys:
        # One small statement for each key, sent as a batch, is quicker than a list of keys: a key may have five parts.
        columns = list(table.primary_key)
        statement = delete(table).where(*(column == bindparam(f"key_{column.name}") for column in columns))
        names = [f"key_{column.name}" for column in columns]
        connection.execute(statement, [dict(zip(names, key, strict=True)) for key in keys])


def _upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        insert = _INSERTS[connection.dialect.name](table)
        others = {other.name: insert.excluded[other.name] for other in table.columns if not other.primary_key}
        key = list(table.primary_key)
        upsert = insert.on_conflict_do_update(index_elements=key, set_=others) if others else insert
        connection.execute(upsert, [dict(row) for row in rows])
