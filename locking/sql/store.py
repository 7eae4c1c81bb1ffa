"""The store of locks in SQL."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Select, case, null, select, update

from locking.records import Grant, Holder, LockState, Waiter
from locking.request import Request
from locking.sql import verbs
from locking.sql.engine import Done, make_engine, send, transact
from locking.sql.ledger import Ledger
from locking.sql.mailbox import PostgresMailbox
from locking.sql.picture import HOLDING, Entry, Picture
from locking.sql.quick import quick
from locking.sql.schema import schema
from locking.sql.telling import everybody, holders_on, waiters_on
from locking.sql.time import server_now
from locking.store import Mailbox, OnGrants, Reply, Status

T = TypeVar("T")


class SqlStore:
    """Locks in three tables. Each verb is one transaction that locks the rows of its names in order.

    What a verb decides under these locks is in `verbs`.

    Args:
        url: Of SQLAlchemy.
        namespace: The prefix of the tables.
        on_grants: Hears of the grants that a call made to waiters.
    """

    def __init__(self, url: str, namespace: str, on_grants: OnGrants) -> None:
        self.on_grants = on_grants
        self._engine = make_engine(url)
        self._tables = schema(namespace)
        self._ledger = Ledger(self._tables)
        self._quick = quick(self._engine, self._tables)

    def check(self) -> None:
        """Make the tables, and the functions of the quick way, where they are missing."""

        def make(connection: Connection) -> None:
            if self._quick:
                self._quick.wait_for_turn(connection)
            self._tables.metadata.create_all(connection)
            if self._quick:
                self._quick.make(connection)

        transact(self._engine, make)

    def acquire(self, request: Request) -> Reply:
        """See `Store`."""
        if self._quick and (reply := self._quick.grant(verbs.entry_of(request), request.ticket)):
            return reply
        return self._on_names(
            request.wants, lambda picture: verbs.acquire(picture, request), otherwise=Reply(Status.BUSY)
        )

    def release(self, request_id: str) -> bool:
        """See `Store`; if a reply was lost, the first sending has released it."""
        if self._quick:
            quickly = self._quick.release(request_id)
            if quickly.value is not None:
                return quickly.value or quickly.resent
        done = self._send(
            lambda connection: self._ledger.names_of(connection, [request_id]),
            lambda picture: verbs.release(picture, request_id),
            otherwise=False,
        )
        return done.value or done.resent

    def renew(self, request_ids: Sequence[str]) -> Sequence[float]:
        """See `Store`; leases are rows of their own, so no name is locked."""
        table = self._tables.requests
        rows = (
            select(table.c.id, table.c.lease, table.c.max_hold, table.c.since, server_now().label("now"))
            .where(table.c.id.in_(sorted(request_ids)), table.c.state.in_(HOLDING), table.c.ends > server_now())
            .order_by(table.c.id)
            .with_for_update()
        )
        limit = table.c.since + table.c.max_hold
        ends = server_now() + table.c.lease

        def work(connection: Connection) -> Sequence[float]:
            left = {
                row.id: row.lease if row.max_hold is None else min(row.lease, row.since + row.max_hold - row.now)
                for row in connection.execute(rows)
            }
            connection.execute(
                update(table)
                .where(table.c.id.in_(sorted(left)))
                .values(
                    ends=case((limit != null(), case((limit < ends, limit), else_=ends)), else_=ends), unconfirmed=False
                )
            )
            return [left.get(request_id, 0.0) for request_id in request_ids]

        return transact(self._engine, work)

    def upgrade(self, request_id: str, *, wait: bool) -> Reply:
        """See `Store`."""
        return self._on_request(request_id, lambda picture: verbs.upgrade(picture, request_id, wait=wait))

    def withdraw(self, request_id: str) -> Reply:
        """See `Store`."""
        return self._on_request(request_id, lambda picture: verbs.withdraw(picture, request_id))

    def downgrade(self, request_id: str) -> Reply:
        """See `Store`."""
        return self._on_request(request_id, lambda picture: verbs.downgrade(picture, request_id))

    def change_priority(self, request_id: str, priority: int, ageing: float | None) -> bool:
        """See `Store`."""
        return self._on_requests(
            [request_id],
            lambda picture: verbs.change_priority(picture, request_id, priority, ageing),
            otherwise=False,
        )

    def tend(self) -> Sequence[str]:
        """See `Store`."""
        requests = self._tables.requests
        delay = case((requests.c.state.in_(HOLDING), requests.c.lock_delay), else_=0.0)
        over = select(requests.c.id).where(requests.c.ends + delay <= server_now())
        self._on_requests(over, lambda _: None, otherwise=None)  # to see them is to end them
        waiting = select(requests.c.id).where(requests.c.state == "waiting", requests.c.mailbox == "")
        return transact(self._engine, lambda connection: list(connection.scalars(waiting)))

    def transfer(self, request_id: str, successor: Request) -> Reply:
        """See `Store`."""
        return self._on_requests(
            [request_id, successor.id],
            lambda picture: verbs.transfer(picture, request_id, successor),
            otherwise=Reply(Status.LOST),
        )

    def observe(self, names: Sequence[str]) -> Mapping[str, int]:
        """See `Store`."""
        table = self._tables.names
        fences = select(table.c.name, table.c.exclusive_fence).where(table.c.name.in_(names))

        def work(connection: Connection) -> Mapping[str, int]:
            known = {row.name: row.exclusive_fence for row in connection.execute(fences)}
            return {name: known.get(name, 0) for name in names}

        return transact(self._engine, work)

    def holders(self, name: str) -> Sequence[Holder]:
        """See `Store`."""
        now, entries = transact(self._engine, lambda connection: self._ledger.show(connection, name))
        return holders_on(entries, name, now)

    def waiters(self, name: str) -> Sequence[Waiter]:
        """See `Store`."""
        now, entries = transact(self._engine, lambda connection: self._ledger.show(connection, name))
        return waiters_on(entries, name, now)

    def list(self) -> Sequence[LockState]:
        """See `Store`."""
        now, entries = transact(self._engine, self._ledger.show)
        return everybody(entries, now)

    def break_(self, name: str) -> Sequence[Holder]:
        """See `Store`."""
        here = select(self._tables.claims.c.request).where(self._tables.claims.c.name == name)
        return self._on_requests(here, lambda picture: verbs.break_(picture, name), otherwise=())

    def reap(self, owner: str) -> int:
        """See `Store`."""
        theirs = select(self._tables.requests.c.id).where(self._tables.requests.c.owner == owner)
        return self._on_requests(theirs, lambda picture: verbs.reap(picture, owner), otherwise=0)

    def open_mailbox(self, address: str) -> Mailbox | None:
        """See `Store`; only PostgreSQL tells."""
        return PostgresMailbox.open(self._engine, address)

    def after_fork(self) -> None:
        """See `Store`."""
        self._engine.dispose(close=False)

    def close(self) -> None:
        """See `Store`."""
        self._engine.dispose()

    def _on_request(self, request_id: str, decide: Callable[[Picture], Reply]) -> Reply:
        """Decide under the locks of all names of one request; LOST if there is none."""
        return self._on_requests([request_id], decide, otherwise=Reply(Status.LOST))

    def _on_requests(self, ids: Sequence[str] | Select[str], decide: Callable[[Picture], T], *, otherwise: T) -> T:
        """Decide under the locks of all names of some requests; `otherwise` if there are none."""
        return self._send(lambda connection: self._ledger.names_of(connection, ids), decide, otherwise=otherwise).value

    def _on_names(self, names: Iterable[str], decide: Callable[[Picture], T], *, otherwise: T) -> T:
        """Decide under the locks of `names`."""
        return self._send(lambda _: set(names), decide, otherwise=otherwise).value

    def _send(self, find: Callable[[Connection], set[str]], decide: Callable[[Picture], T], *, otherwise: T) -> Done[T]:
        """Find names, lock them, decide and write, in one transaction; then tell whom it granted what."""
        more: set[str] = set()

        def work(connection: Connection) -> tuple[T, Sequence[Entry]]:
            names = find(connection)
            if not names:
                return otherwise, ()
            picture = self._ledger.open(connection, names, more)
            decided = decide(picture)
            self._ledger.write(connection, picture)
            return decided, picture.granted

        (decided, others), resent = send(self._engine, work)
        if others:
            self.on_grants([Grant(entry.id, entry.owner, entry.info.get("task"), entry.mailbox) for entry in others])
        return Done(decided, resent)
