"""The usual acquire and release on PostgreSQL, where nobody else wants the names: one round trip each.

They are functions in the database, because its sessions keep the plans of a function, also behind a pooler that lends
them out by the transaction; as a statement of ours the same work would be planned anew each time, which takes longer
than doing it.
"""

import hashlib
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection, Engine, text

from locking.sql.engine import Done, send, transact
from locking.sql.ledger import values_of
from locking.sql.picture import Entry
from locking.sql.schema import Schema
from locking.store import Reply, Status

_ARGUMENTS = {"grant": "wanted bytea[], modes text[], asker {requests}, ticket text", "release": "gone text"}
_RESULTS = {"grant": "bigint", "release": "boolean"}


class Quick:
    """Grants and releases in one round trip where that is all there is to do.

    Args:
        engine: Of PostgreSQL, through psycopg.
        tables: Of the deployment.
    """

    def __init__(self, engine: Engine, tables: Schema) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._quote = engine.dialect.identifier_preparer.quote
        self._tables = {table: self._quote(getattr(tables, table).name) for table in ("names", "requests", "claims")}
        self._prefix = tables.names.name.removesuffix("names")
        row = ", ".join(
            f"CAST(:{column.name} AS {column.type.compile(engine.dialect)})" for column in tables.requests.c
        )
        grant = f"SELECT {self._function('grant')}(:names, CAST(:modes AS text[]), ROW({row}), :ticket)"
        self._grant = text(grant)
        self._release = text(f"SELECT {self._function('release')}(:id)")

    def wait_for_turn(self, connection: Connection) -> None:
        """Let processes that start together make tables and functions one after the other, until the commit."""
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:names))"), self._tables)

    def make(self, connection: Connection) -> None:
        """Make the functions where they are missing; each is named by its text, so that versions live side by side."""
        for verb, arguments in _ARGUMENTS.items():
            name = self._function(verb)
            if connection.scalar(text("SELECT to_regproc(:name) IS NULL"), {"name": name}):
                connection.exec_driver_sql(
                    f"CREATE FUNCTION {name}({arguments.format(**self._tables)}) RETURNS {_RESULTS[verb]}"
                    f" LANGUAGE plpgsql AS $${self._body(verb)}$$"
                )

    def grant(self, asker: Entry, ticket: str) -> Reply | None:
        """The grant, or None if it isn't that simple."""
        parameters: dict[str, Any] = {
            **values_of(asker),
            "id": asker.id,
            "owner": asker.owner.encode(),
            "state": "held",
            "names": [name.encode() for name in asker.modes],
            "modes": [mode.letter for mode in asker.modes.values()],
            "ticket": ticket,
        }
        fence = transact(self._engine, lambda connection: connection.execute(self._grant, parameters).scalar())
        life = asker.lease if asker.max_hold is None else min(asker.lease, asker.max_hold)
        return None if fence is None else Reply(Status.GRANTED, fence, life, dict(asker.modes))

    def release(self, request_id: str) -> Done[bool | None]:
        """Whether the request held a lock that was still good, or None if it isn't that simple."""
        parameters = {"id": request_id}
        return send(self._engine, lambda connection: connection.execute(self._release, parameters).scalar())

    def _body(self, verb: str) -> str:
        return files(__package__).joinpath(f"{verb}.sql").read_text(encoding="utf-8").format(**self._tables)

    def _function(self, verb: str) -> str:
        digest = hashlib.sha1(self._body(verb).encode(), usedforsecurity=False).hexdigest()
        return self._quote(f"{self._prefix}{verb}_{digest[:8]}")


def quick(engine: Engine, tables: Schema) -> Quick | None:
    """The quick way, where there is one."""
    return Quick(engine, tables) if (engine.dialect.name, engine.driver) == ("postgresql", "psycopg") else None
