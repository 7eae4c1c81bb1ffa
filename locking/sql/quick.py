"""The usual acquire on PostgreSQL, where nobody is on the names: one statement instead of a transaction of seven."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, text

from locking.sql.engine import transact
from locking.sql.ledger import values_of
from locking.sql.picture import Entry
from locking.sql.schema import Schema
from locking.store import Reply, Status

# Rows in: one or none. Grants exactly what Picture.grant would, in O(names); gives no row if anybody is on a name, if a
# name has no row yet, or if another grant came between the statement's snapshot and its row locks: every grant changes
# the fence, so a row whose fence is no longer the one that was seen drops out of `locked`.
_GRANT = """
WITH seen AS MATERIALIZED (SELECT name, fence FROM {names} WHERE name = ANY(:names)),
taken AS MATERIALIZED (SELECT 1 FROM {claims} WHERE name = ANY(:names) OR request = :id LIMIT 1),
locked AS MATERIALIZED (
    SELECT n.fence FROM {names} n JOIN seen s ON n.name = s.name AND n.fence = s.fence ORDER BY n.name FOR UPDATE OF n),
free AS MATERIALIZED (
    SELECT extract(epoch FROM clock_timestamp())::double precision AS now, max(fence) AS last FROM locked
    HAVING count(*) = cardinality(CAST(:names AS bytea[])) AND NOT EXISTS (SELECT FROM taken)),
given AS MATERIALIZED (SELECT now, greatest(last + 1, (now * 1e6)::bigint) AS fence FROM free),
request AS (
    INSERT INTO {requests} (id, state, owner, session, info, mailbox, fence, since, ends, arrival, score, lease,
        max_hold, lock_delay, patience, provisional, unconfirmed)
    SELECT :id, 'held', :owner, :session, :info, :mailbox, fence, now, now + :life, now, 0, :lease,
        CAST(:max_hold AS double precision), :lock_delay, :patience, :provisional, false FROM given),
claim AS (
    INSERT INTO {claims} (name, request, mode)
    SELECT name, :id, mode FROM given, unnest(CAST(:names AS bytea[]), CAST(:modes AS text[])) AS wanted (name, mode)),
fenced AS (
    UPDATE {names} n SET fence = given.fence,
        exclusive_fence = CASE WHEN mode = 'x' THEN given.fence ELSE exclusive_fence END
    FROM given, unnest(CAST(:names AS bytea[]), CAST(:modes AS text[])) AS wanted (name, mode)
    WHERE n.name = wanted.name)
SELECT fence FROM given
"""


class QuickGrant:
    """Grants free locks in one round trip.

    Args:
        engine: Of PostgreSQL, through psycopg.
        tables: Of the deployment.
    """

    def __init__(self, engine: Engine, tables: Schema) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._statement = text(
            _GRANT.format(names=tables.names.name, requests=tables.requests.name, claims=tables.claims.name)
        )

    def grant(self, asker: Entry) -> Reply | None:
        """The grant, or None if it isn't that simple."""
        life = asker.lease if asker.max_hold is None else min(asker.lease, asker.max_hold)
        parameters: Mapping[str, Any] = {
            **values_of(asker),
            "id": asker.id,
            "owner": asker.owner.encode(),
            "life": life,
            "names": [name.encode() for name in asker.modes],
            "modes": [mode.letter for mode in asker.modes.values()],
        }
        fence = transact(self._engine, lambda connection: connection.execute(self._statement, parameters).scalar())
        return None if fence is None else Reply(Status.GRANTED, fence, life, dict(asker.modes))


def quick_grant(engine: Engine, tables: Schema) -> QuickGrant | None:
    """The quick way, where there is one."""
    return QuickGrant(engine, tables) if (engine.dialect.name, engine.driver) == ("postgresql", "psycopg") else None
