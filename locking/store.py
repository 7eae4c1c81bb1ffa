"""What a store of locks can do; Redis and SQL do it alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from locking.modes import LockMode
from locking.records import Grant, Holder, LockState, Waiter
from locking.request import Request


class Status(Enum):
    """What became of a request."""

    GRANTED = "granted"
    WAITING = "waiting"
    BUSY = "busy"
    HELD = "held"  # by the same owner
    CONFLICT = "conflict"  # another sharer upgrades
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to acquire, upgrade, downgrade and transfer.

    `left` is the seconds of lease left and `wants` what was granted. A waiter should ask again after `retry_after`
    seconds even if nobody wakes it; `behind` tells that another waiter stands in front of it, `missed` that the request
    was granted its names but didn't confirm in time.
    """

    status: Status
    fence: int = 0
    left: float = 0.0
    wants: Mapping[str, LockMode] = field(default_factory=dict)
    holders: Sequence[Holder] = ()
    waiters: int = 0
    retry_after: float = 0.0
    behind: bool = False
    missed: bool = False


OnGrants = Callable[[Sequence[Grant]], None]


class Mailbox(Protocol):
    """One connection on which a process hears of its grants."""

    def receive(self, timeout: float) -> Sequence[str]:
        """The ids of requests that were granted; empty if none was within `timeout` seconds."""

    def wake(self) -> None:
        """Make `receive` return; for another thread than the one that listens."""

    def close(self) -> None:
        """Disconnect; for the thread that listens."""


class Store(Protocol):
    """One idempotent verb a method: the same call again gives the same answer.

    Every verb may grant locks to waiters on its way. `on_grants`, set by whoever owns the store, hears of each.
    """

    on_grants: OnGrants

    def check(self) -> None:
        """Make the store ready; raise `StoreError` if it can't keep locks."""

    def acquire(self, request: Request) -> Reply:
        """Ask for locks, ask again as a waiter, or confirm a grant."""

    def release(self, request_id: str) -> bool:
        """Forget a request, holder or waiter; whether it held a lock that was still good."""

    def renew(self, request_ids: Sequence[str]) -> Sequence[float]:
        """Start the leases anew; for each the seconds left, 0 if it is lost."""

    def upgrade(self, request_id: str, *, wait: bool) -> Reply:
        """Make all names exclusive, or queue for it in front of everybody."""

    def withdraw(self, request_id: str) -> Reply:
        """Stop waiting for an upgrade; GRANTED if it came first, else BUSY with the shared lock kept."""

    def downgrade(self, request_id: str) -> Reply:
        """Make all names shared."""

    def change_priority(self, request_id: str, priority: int, ageing: float | None) -> bool:
        """Move a waiter to where its arrival and `priority` place it; whether it still waits, or has yet to confirm."""

    def tend(self) -> Sequence[str]:
        """End what is over, grant what that sets free; the ids of waiters without a mailbox."""

    def transfer(self, request_id: str, successor: Request) -> Reply:
        """Put the grant under the id, the owner and the lease of `successor`."""

    def observe(self, names: Sequence[str]) -> Mapping[str, int]:
        """The fence of the last exclusive grant of each name, 0 if there is none to remember."""

    def holders(self, name: str) -> Sequence[Holder]:
        """Who holds `name`."""

    def waiters(self, name: str) -> Sequence[Waiter]:
        """Who waits for `name`, in order."""

    def list(self) -> Sequence[LockState]:
        """Every name that somebody holds or waits for, sorted."""

    def break_(self, name: str) -> Sequence[Holder]:
        """End every grant on `name`; who held it."""

    def reap(self, owner: str) -> int:
        """End every request of a dead owner; how many held a lock."""

    def open_mailbox(self, address: str) -> Mailbox | None:
        """A connection that hears of grants, or None if this store can't tell and has to be asked."""

    def after_fork(self) -> None:
        """Drop connections that belong to the parent process."""

    def close(self) -> None:
        """End every connection."""
