"""What a transaction sees of some names, and what follows from it: the rules of granting, without any SQL."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from locking.modes import LockMode, conflict

FRONT = -1e300  # the score of an upgrade: before everybody; MySQL knows no infinity

HOLDING, QUEUEING = ("held", "upgrading"), ("waiting", "upgrading")  # the states of a request; the last is "silent"


@dataclass(slots=True)
class Entry:
    """A request: a holder, a waiter, (upgrading) both or (silent) neither; `stored` once it has its row."""

    id: str
    state: str
    owner: str
    session: str
    info: Mapping[str, Any]
    mailbox: str
    lease: float
    max_hold: float | None
    lock_delay: float
    patience: float
    provisional: float
    modes: dict[str, LockMode]
    fence: int = 0
    since: float = 0.0
    ends: float = 0.0
    arrival: float = 0.0
    score: float = 0.0
    unconfirmed: bool = False
    stored: bool = False

    @property
    def holds(self) -> bool:
        """Whether it stands among the holders."""
        return self.state in HOLDING

    @property
    def queues(self) -> bool:
        """Whether it stands in the queues."""
        return self.state in QUEUEING

    @property
    def unattended(self) -> bool:
        """Whether nobody is in it: it waits, or was granted and not fetched, and doesn't die with its owner."""
        return not self.mailbox and (self.unconfirmed or not self.holds)

    def over(self, now: float) -> bool:
        """Whether its time is over, lock delay included."""
        return now >= self.ends + (self.lock_delay if self.holds else 0.0)

    def alive(self, now: float) -> bool:
        """Whether it holds its names and its lease still runs."""
        return self.holds and now < self.ends

    def asks(self, name: str) -> LockMode:
        """The mode it asks for: an upgrade asks for EXCLUSIVE."""
        return LockMode.EXCLUSIVE if self.state == "upgrading" else self.modes[name]

    def rank(self, priority: int, ageing: float | None) -> None:
        """Order it by its priority and its arrival."""
        self.score = float(priority) if ageing is None else self.arrival + priority * ageing

    @property
    def place(self) -> tuple[float, float, str]:
        """Its place in every queue."""
        return (self.score, self.arrival, self.id)


@dataclass(slots=True)
class Picture:
    """The entries on some names, and what has been decided about them in this transaction."""

    now: float
    fences: dict[str, int]
    entries: dict[str, Entry]
    changed: dict[str, Entry] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    granted: list[Entry] = field(default_factory=list)
    hinted: list[Entry] = field(default_factory=list)  # waiters to be told that they should ask
    fenced: list[Entry] = field(default_factory=list)

    def on(self, name: str) -> list[Entry]:
        """Everybody on `name`."""
        return [entry for entry in self.entries.values() if name in entry.modes]

    def holder(self, request_id: str) -> Entry | None:
        """The request of this id if it holds its names and its lease still runs."""
        entry = self.entries.get(request_id)
        return entry if entry is not None and entry.alive(self.now) else None

    def queue(self, name: str) -> list[Entry]:
        """The waiters of `name`, in order."""
        return sorted((entry for entry in self.on(name) if entry.queues), key=lambda entry: entry.place)

    def holders_against(self, asker: Entry, name: str) -> list[Entry]:
        """The holders of `name` that `asker` can't stand beside."""
        return [
            entry
            for entry in self.on(name)
            if entry.holds and entry.id != asker.id and conflict(asker.asks(name), entry.modes[name])
        ]

    def queue_against(self, asker: Entry, name: str) -> bool:
        """Whether a waiter of `name` stands before `asker` and conflicts with it."""
        return any(
            entry.place < asker.place and conflict(asker.asks(name), entry.asks(name))
            for entry in self.on(name)
            if entry.queues and entry.id != asker.id
        )

    def free(self, asker: Entry, name: str) -> bool:
        """Whether `asker` could have `name` now."""
        return not self.holders_against(asker, name) and not self.queue_against(asker, name)

    def grantable(self, asker: Entry, past: Collection[str] = ()) -> bool:
        """Whether `asker` could have all it asks for now; it may pass the waiters of `past`, but no holder."""
        return all(
            not self.holders_against(asker, name) and (name in past or not self.queue_against(asker, name))
            for name in asker.modes
        )

    def place(self, asker: Entry, priority: int, ageing: float | None, arrived: float | None) -> None:
        """Give a newcomer its place: behind all that came, among those of the same rank, unless it arrived earlier."""
        latest = max((entry.arrival for entry in self.entries.values()), default=0.0)
        asker.arrival = max(self.now, latest + 1e-6)
        if arrived is not None:
            asker.arrival = min(asker.arrival, arrived)
        asker.rank(priority, ageing)

    def grant(self, asker: Entry, lease: float, *, unconfirmed: bool = False) -> None:
        """Give `asker` all it asks for, under one new fence."""
        if asker.state == "upgrading":
            asker.modes = dict.fromkeys(asker.modes, LockMode.EXCLUSIVE)
        else:
            asker.since = self.now
        asker.state = "held"
        asker.unconfirmed = unconfirmed
        asker.fence = max(max(self.fences[name] for name in asker.modes) + 1, int(self.now * 1e6))
        self.fences |= dict.fromkeys(asker.modes, asker.fence)
        self.fenced.append(asker)
        self.extend(asker, lease)
        self.entries[asker.id] = asker

    def extend(self, entry: Entry, lease: float) -> None:
        """Start the lease of a holder; max_hold counts from the grant."""
        entry.ends = self.now + lease
        if entry.max_hold is not None:
            entry.ends = min(entry.ends, entry.since + entry.max_hold)
        self.changed[entry.id] = entry

    def remove(self, entry: Entry) -> None:
        """Take an entry out."""
        self.removed.add(entry.id)
        self.entries.pop(entry.id, None)
        self.changed.pop(entry.id, None)

    def sweep(self) -> None:
        """Take out or set aside everybody whose time is over, then grant what that set free."""
        over = [entry for entry in self.entries.values() if entry.over(self.now)]
        for entry in over:
            if entry.unconfirmed:
                self.set_aside(entry)
            else:
                self.remove(entry)
        self.pump(name for entry in over for name in entry.modes)

    def set_aside(self, entry: Entry) -> None:
        """Pass over a waiter that didn't confirm its grant; when it asks, as it is told to, it has its old place."""
        entry.state, entry.unconfirmed, entry.ends = "silent", False, self.now + entry.patience
        self.hinted.append(entry)
        self.changed[entry.id] = entry

    def admit_sharers(self, names: Collection[str]) -> None:
        """Grant `names` to every sharer that waits for them, past exclusive waiters, too; see downgrade.lua."""
        for name in sorted(names):
            for entry in self.queue(name):
                if entry.asks(name) is LockMode.SHARED and self.complete(entry) and self.grantable(entry, names):
                    self.grant_waiter(entry)

    def grant_waiter(self, entry: Entry) -> None:
        """Grant a waiter what it asks for: an upgrade for good, all else until it confirms."""
        upgrade = entry.state == "upgrading"
        self.grant(entry, entry.lease if upgrade else min(entry.provisional, entry.lease), unconfirmed=not upgrade)
        self.granted.append(entry)
        self.hinted.append(entry)

    def pump(self, names: Iterable[str]) -> None:
        """Grant what has become grantable; in each queue up to the first exclusive waiter that stays."""
        for name in sorted(set(names) & set(self.fences)):
            sharer_stays = False
            for entry in self.queue(name):
                exclusive = entry.asks(name) is LockMode.EXCLUSIVE
                if exclusive and sharer_stays:
                    break
                if self.complete(entry) and self.grantable(entry):
                    self.grant_waiter(entry)
                else:
                    sharer_stays = True
                if exclusive:
                    break

    def complete(self, entry: Entry) -> bool:
        """Whether all names of `entry` are in this picture."""
        return entry.modes.keys() <= self.fences.keys()
