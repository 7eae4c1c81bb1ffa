"""Everything that can go wrong with a lock, in one tree."""

from collections.abc import Sequence

from locking.records import Holder

SHOWN = 5  # names or holders spelt out in a message; an error keeps them all


class LockError(Exception):
    """The root of every error of this package."""


class InvalidRequest(LockError, ValueError):
    """A name, a mode, a time or an address that can't be meant; nothing was taken."""


class StoreError(LockError):
    """The store of locks can't be reached or refuses to work; the message says which one, why, and what to do."""


class ResourceLocked(LockError):
    """A name is busy; nothing was taken.

    `names` are all that were asked for, `holders` who stands in the way, `waiters` how many requests already queue.
    """

    def __init__(self, names: Sequence[str], holders: Sequence[Holder] = (), waiters: int = 0) -> None:
        self.names = tuple(names)
        self.holders = tuple(holders)
        self.waiters = waiters
        super().__init__(self.names, self.holders, waiters)

    def __str__(self) -> str:
        queue = f"; {self.waiters} waiting" if self.waiters else ""
        if not self.holders:
            return f"{listed(self.names)}: others wait in front{queue}"
        told = "; ".join(str(holder) for holder in self.holders[:SHOWN])
        more = f"; and {len(self.holders) - SHOWN} more holders" if len(self.holders) > SHOWN else ""
        return told + more + queue


class LockTimeout(ResourceLocked):
    """The wait ended before the lock was free; the request left the queue."""

    def __str__(self) -> str:
        return f"gave up waiting: {ResourceLocked.__str__(self)}"


class AlreadyHeld(ResourceLocked):
    """The same owner holds one of the names already, so waiting would be waiting for itself."""

    def __str__(self) -> str:
        return f"the same owner asks again: {ResourceLocked.__str__(self)}"


class LockLost(LockError):
    """The lock is no longer this holder's: its lease ended, it was broken or reaped, or a later grant has written."""


class UpgradeConflict(LockError):
    """Another sharer of a name is upgrading already: one of the two has to release first."""


class LockOrderError(LockError):
    """A blocking acquire inside another one asks for a name that sorts before one already held.

    Two such callers could wait for each other. Ask for all the names at once, or in ascending order, or with `wait=0`.
    """


class ExclusiveLockRequired(LockError):
    """A function that needs an exclusive lock was given another, or one that is released or lost."""


def listed(names: Sequence[str]) -> str:
    """Names for a message: all of a few, of many the first."""
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
