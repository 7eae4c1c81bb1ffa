"""The store of locks in SQL."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Select, case, null, select, update

from locking.modes import LockMode
from locking.records import Grant, Holder, LockState, Waiter
from locking.request import Request
from locking.sql.engine import make_engine, transact
from locking.sql.ledger import Ledger, names_in
from locking.sql.mailbox import PostgresMailbox
from locking.sql.picture import FRONT, Entry, Picture
from locking.sql.quick import quick_grant
from locking.sql.schema import schema
from locking.sql.telling import granted, holders_on, obstacles, waiters_on
from locking.sql.time import server_now
from locking.store import Mailbox, OnGrants, Reply, Status

T = TypeVar("T")


class SqlStore:
    """Locks in three tables. Each verb is one transaction that locks the rows of its names in order.

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
        self._quick = quick_grant(self._engine, self._tables)

    def check(self) -> None:
        """Make the tables where they are missing."""
        transact(self._engine, self._tables.metadata.create_all)

    def acquire(self, request: Request) -> Reply:
        """See `Store`."""
        if self._quick and (reply := self._quick.grant(_asker(request))):
            return reply

        def decide(picture: Picture) -> Reply:
            if known := picture.entries.get(request.id):
                return self._ask_again(picture, known)
            return self._ask(picture, request)

        return self._on_names(request.wants, decide, Reply(Status.BUSY))

    def _ask_again(self, picture: Picture, known: Entry) -> Reply:
        if known.state == "waiting":
            known.ends = picture.now + known.patience
            picture.changed[known.id] = known
            return obstacles(picture, known, Status.WAITING)
        if not known.alive(picture.now):
            return Reply(Status.LOST)
        if known.unconfirmed:
            known.unconfirmed = False
            picture.extend(known, known.lease)
        return granted(picture, known)

    def _ask(self, picture: Picture, request: Request) -> Reply:
        asker = _asker(request)
        picture.place(asker, request.priority, request.ageing)
        if request.at_least:
            asker.modes = {name: mode for name, mode in request.wants.items() if picture.free(asker, name)}
            if len(asker.modes) < request.at_least:
                asker.modes = dict(request.wants)
                return obstacles(picture, asker, Status.BUSY)
        elif not picture.grantable(asker):
            return self._refuse_or_queue(picture, asker, request)
        picture.grant(asker, asker.lease)
        return granted(picture, asker)

    def _refuse_or_queue(self, picture: Picture, asker: Entry, request: Request) -> Reply:
        same = any(
            entry.holds and (entry.owner, entry.session) == (asker.owner, asker.session)
            for name in asker.modes
            for entry in picture.on(name)
        )
        if same or not request.wait:
            return obstacles(picture, asker, Status.HELD if same else Status.BUSY)
        asker.ends = picture.now + asker.patience
        picture.entries[asker.id] = picture.changed[asker.id] = asker
        return obstacles(picture, asker, Status.WAITING)

    def release(self, request_id: str) -> bool:
        """See `Store`."""

        def decide(picture: Picture) -> bool:
            entry = picture.entries.get(request_id)
            if entry is None:
                return False
            picture.remove(entry)
            picture.pump(entry.modes)
            return entry.alive(picture.now)

        return self._on_requests([request_id], decide, False)

    def renew(self, request_ids: Sequence[str]) -> Sequence[float]:
        """See `Store`; leases are rows of their own, so no name is locked."""
        table = self._tables.requests
        rows = (
            select(table.c.id, table.c.lease, table.c.max_hold, table.c.since, server_now().label("now"))
            .where(table.c.id.in_(sorted(request_ids)), table.c.state != "waiting", table.c.ends > server_now())
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

        def decide(picture: Picture) -> Reply:
            entry = picture.entries.get(request_id)
            if entry is None or not entry.alive(picture.now):
                return Reply(Status.LOST)
            if LockMode.SHARED not in entry.modes.values():
                return granted(picture, entry)
            if entry.state == "upgrading":
                return obstacles(picture, entry, Status.WAITING)
            return self._try_upgrade(picture, entry, wait=wait)

        return self._on_requests([request_id], decide, Reply(Status.LOST))

    def _try_upgrade(self, picture: Picture, entry: Entry, *, wait: bool) -> Reply:
        another = any(other.state == "upgrading" for name in entry.modes for other in picture.on(name))
        entry.state, entry.score, entry.arrival = "upgrading", FRONT, picture.now
        if another or not wait or not any(picture.holders_against(entry, name) for name in entry.modes):
            if another or any(picture.holders_against(entry, name) for name in entry.modes):
                return obstacles(picture, entry, Status.CONFLICT if another else Status.BUSY)
            picture.grant(entry, entry.lease)
            return granted(picture, entry)
        picture.changed[entry.id] = entry
        return obstacles(picture, entry, Status.WAITING)

    def withdraw(self, request_id: str) -> Reply:
        """See `Store`."""

        def decide(picture: Picture) -> Reply:
            entry = picture.entries.get(request_id)
            if entry is None or not entry.alive(picture.now):
                return Reply(Status.LOST)
            if LockMode.SHARED not in entry.modes.values():
                return granted(picture, entry)
            told = obstacles(picture, entry, Status.BUSY)
            if entry.state == "upgrading":
                entry.state = "held"
                picture.changed[entry.id] = entry
                picture.pump(entry.modes)
            return told

        return self._on_requests([request_id], decide, Reply(Status.LOST))

    def downgrade(self, request_id: str) -> Reply:
        """See `Store`."""

        def decide(picture: Picture) -> Reply:
            entry = picture.entries.get(request_id)
            if entry is None or not entry.alive(picture.now):
                return Reply(Status.LOST)
            if LockMode.EXCLUSIVE in entry.modes.values() and entry.state == "held":
                entry.modes = dict.fromkeys(entry.modes, LockMode.SHARED)
                picture.changed[entry.id] = entry
                picture.pump(entry.modes)
            return granted(picture, entry)

        return self._on_requests([request_id], decide, Reply(Status.LOST))

    def transfer(self, request_id: str, successor: Request) -> Reply:
        """See `Store`."""

        def decide(picture: Picture) -> Reply:
            done, entry = picture.entries.get(successor.id), picture.entries.get(request_id)
            if done is not None and done.alive(picture.now):
                return granted(picture, done)
            if entry is None or not entry.alive(picture.now) or entry.state != "held":
                return Reply(Status.LOST)
            picture.remove(entry)
            heir = _asker(successor)
            heir.state, heir.modes, heir.fence, heir.since = "held", entry.modes, entry.fence, entry.since
            heir.max_hold, heir.lock_delay = entry.max_hold, entry.lock_delay
            picture.entries[heir.id] = heir
            picture.extend(heir, heir.lease)
            return granted(picture, heir)

        return self._on_requests([request_id, successor.id], decide, Reply(Status.LOST))

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
        return [
            LockState(name, tuple(holders_on(entries, name, now)), tuple(waiters_on(entries, name, now)))
            for name in names_in(entries)
        ]

    def break_(self, name: str) -> Sequence[Holder]:
        """See `Store`."""

        def decide(picture: Picture) -> Sequence[Holder]:
            broken = [entry for entry in picture.on(name) if entry.holds]
            told = holders_on(broken, name, picture.now)
            for entry in broken:
                picture.remove(entry)
            picture.pump(names_in(broken))
            return told

        here = select(self._tables.claims.c.request).where(self._tables.claims.c.name == name)
        return self._on_requests(here, decide, ())

    def reap(self, owner: str) -> int:
        """See `Store`."""
        table = self._tables.requests

        def decide(picture: Picture) -> int:
            entries = [entry for entry in picture.entries.values() if entry.owner == owner]
            held = [entry for entry in entries if entry.alive(picture.now)]
            for entry in entries:
                _end_uncleanly(picture, entry)
            picture.pump(names_in(entries))
            return len(held)

        theirs = select(table.c.id).where(table.c.owner == owner)
        return self._on_requests(theirs, decide, 0)

    def open_mailbox(self, address: str) -> Mailbox | None:
        """See `Store`; only PostgreSQL tells."""
        return PostgresMailbox.open(self._engine, address)

    def after_fork(self) -> None:
        """See `Store`."""
        self._engine.dispose(close=False)

    def close(self) -> None:
        """See `Store`."""
        self._engine.dispose()

    def _on_requests(self, ids: Sequence[str] | Select[str], decide: Callable[[Picture], T], otherwise: T) -> T:
        """Decide under the locks of all names of some requests; `otherwise` if there are none."""
        return self._decide(lambda connection: self._ledger.names_of(connection, ids), decide, otherwise)

    def _on_names(self, names: Iterable[str], decide: Callable[[Picture], T], otherwise: T) -> T:
        """Decide under the locks of `names`."""
        return self._decide(lambda _: set(names), decide, otherwise)

    def _decide(self, find: Callable[[Connection], set[str]], decide: Callable[[Picture], T], otherwise: T) -> T:
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

        decided, others = transact(self._engine, work)
        if others:
            self.on_grants([Grant(entry.id, entry.owner, entry.info.get("task"), entry.mailbox) for entry in others])
        return decided


def _asker(request: Request) -> Entry:
    return Entry(
        id=request.id,
        state="waiting",
        owner=request.owner,
        session=request.session,
        info={**request.info, "priority": request.priority},
        mailbox=request.mailbox,
        lease=request.lease,
        max_hold=request.max_hold,
        lock_delay=request.lock_delay,
        patience=request.patience,
        provisional=request.provisional,
        modes=dict(request.wants),
    )


def _end_uncleanly(picture: Picture, entry: Entry) -> None:
    if entry.alive(picture.now) and entry.lock_delay:
        entry.state, entry.ends = "held", picture.now
        picture.changed[entry.id] = entry
    elif entry.alive(picture.now) or not entry.holds:
        picture.remove(entry)
