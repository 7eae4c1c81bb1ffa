"""Reading a picture of some names out of the tables, and writing back what was decided."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, literal, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from locking.modes import LockMode
from locking.sql.engine import Again
from locking.sql.picture import Entry, Picture
from locking.sql.schema import Schema
from locking.sql.time import server_now

_COLUMNS = (
    *("state", "owner", "session", "mailbox", "lease", "max_hold", "lock_delay", "patience", "provisional"),
    *("fence", "since", "ends", "arrival", "score", "unconfirmed"),
)


class Ledger:
    """The tables as entries."""

    def __init__(self, tables: Schema) -> None:
        self._tables = tables

    def open(self, connection: Connection, names: set[str], more: set[str]) -> Picture:
        """Lock the rows of `names` and `more`, in order, and see who is on them; the dead are taken out first.

        A waiter can only be judged under the locks of all its names: where some are missing, `more` grows by them and
        the transaction starts anew.
        """
        locked = names | more
        fences = self._lock(connection, sorted(locked))
        now, entries = self._read(connection, sorted(locked))
        for entry in entries.values():
            if entry.queues and names & entry.modes.keys():
                more.update(entry.modes)
        if not more <= locked:
            raise Again
        picture = Picture(now, fences, entries)
        picture.sweep()
        return picture

    def names_of(self, connection: Connection, ids: Sequence[str] | Select[str]) -> set[str]:
        """The names of some requests."""
        claims = self._tables.claims
        return set(connection.scalars(select(claims.c.name).where(claims.c.request.in_(ids))))

    def show(self, connection: Connection, name: str | None = None) -> tuple[float, Sequence[Entry]]:
        """The time, and everybody on `name` or on any name, unlocked."""
        now, entries = self._read(connection, None if name is None else [name])
        return now, [entry for entry in entries.values() if not entry.over(now)]

    def write(self, connection: Connection, picture: Picture) -> None:
        """Write what was decided, and hint where the database can."""
        self._delete(connection, sorted(picture.removed))
        for _, entry in sorted(picture.changed.items()):
            (self._update if entry.stored else self._insert)(connection, entry)
        for entry in picture.fenced:
            self._raise_fences(connection, entry)
        if connection.dialect.name == "postgresql":
            for entry in picture.hinted:
                if entry.mailbox:
                    connection.execute(select(func.pg_notify(channel(entry.mailbox), entry.id)))

    def _lock(self, connection: Connection, names: Sequence[str]) -> dict[str, int]:
        table = self._tables.names
        rows = (
            select(table.c.name, table.c.fence).where(table.c.name.in_(names)).order_by(table.c.name).with_for_update()
        )
        fences = {row.name: row.fence for row in connection.execute(rows)}
        if missing := [name for name in names if name not in fences]:
            blank = [{"name": name, "fence": 0, "exclusive_fence": 0} for name in missing]
            connection.execute(self._insert_or_ignore(connection), blank)
            fences = {row.name: row.fence for row in connection.execute(rows)}
        return fences

    def _insert_or_ignore(self, connection: Connection) -> Any:
        table = self._tables.names
        match connection.dialect.name:
            case "postgresql":
                return postgresql.insert(table).on_conflict_do_nothing()
            case "sqlite":
                return sqlite.insert(table).on_conflict_do_nothing()
            case _:
                return mysql.insert(table).prefix_with("IGNORE")

    def _read(self, connection: Connection, names: Sequence[str] | None) -> tuple[float, dict[str, Entry]]:
        """The time, after the locks are held, and every request on the names with all the names of each."""
        requests, claims = self._tables.requests, self._tables.claims
        joined = claims.c.request == requests.c.id
        if names is not None:
            theirs = claims.alias("theirs")
            joined &= claims.c.request.in_(select(theirs.c.request).where(theirs.c.name.in_(names)))
        one = select(literal(1).label("row")).subquery("one")
        found = select(server_now().label("now"), claims.c.name, claims.c.mode, requests).select_from(
            one.outerjoin(claims.join(requests, joined), one.c.row == 1)
        )
        entries: dict[str, Entry] = {}
        now = 0.0
        for row in connection.execute(found.order_by(claims.c.name)):
            now = now or row.now
            if row.id is not None:
                entry = entries.setdefault(row.id, _entry(row))
                entry.modes[row.name] = LockMode.of_letter(row.mode)
        return now, entries

    def _delete(self, connection: Connection, ids: Sequence[str]) -> None:
        if ids:
            connection.execute(delete(self._tables.claims).where(self._tables.claims.c.request.in_(ids)))
            connection.execute(delete(self._tables.requests).where(self._tables.requests.c.id.in_(ids)))

    def _insert(self, connection: Connection, entry: Entry) -> None:
        connection.execute(insert(self._tables.requests).values(id=entry.id, **values_of(entry)))
        rows = [{"name": name, "request": entry.id, "mode": mode.letter} for name, mode in sorted(entry.modes.items())]
        connection.execute(insert(self._tables.claims), rows)

    def _update(self, connection: Connection, entry: Entry) -> None:
        requests, claims = self._tables.requests, self._tables.claims
        connection.execute(update(requests).where(requests.c.id == entry.id).values(**values_of(entry)))
        for mode, names in _by_mode(entry.modes).items():
            connection.execute(
                update(claims).where(claims.c.request == entry.id, claims.c.name.in_(names)).values(mode=mode.letter)
            )

    def _raise_fences(self, connection: Connection, entry: Entry) -> None:
        table = self._tables.names
        for mode, names in _by_mode(entry.modes).items():
            values = {"fence": entry.fence}
            if mode is LockMode.EXCLUSIVE:
                values["exclusive_fence"] = entry.fence
            connection.execute(update(table).where(table.c.name.in_(names)).values(values))


def channel(mailbox: str) -> str:
    """The PostgreSQL channel of a mailbox."""
    return f"locking_{mailbox}"


def _by_mode(modes: Mapping[str, LockMode]) -> Mapping[LockMode, Sequence[str]]:
    sorted_out: dict[LockMode, list[str]] = defaultdict(list)
    for name, mode in sorted(modes.items()):
        sorted_out[mode].append(name)
    return sorted_out


def _entry(row: Row[Any]) -> Entry:
    facts = row._mapping  # noqa: SLF001 - the documented way to read a row by column name
    return Entry(
        id=facts["id"],
        info=json.loads(facts["info"]),
        modes={},
        stored=True,
        **{column: facts[column] for column in _COLUMNS},
    )


def values_of(entry: Entry) -> dict[str, Any]:
    """The columns of a request's row, but its id."""
    return {"info": json.dumps(entry.info), **{column: getattr(entry, column) for column in _COLUMNS}}


def names_in(entries: Iterable[Entry]) -> list[str]:
    """Every name that somebody of `entries` is on, sorted."""
    return sorted({name for entry in entries for name in entry.modes})
