"""What the coordinator needs of a place that keeps groups."""

from collections.abc import Sequence
from typing import Protocol

from partitioning.group import Candidate, GroupView


class GroupStore(Protocol):
    """Keeps groups by a clock of its own; each call is atomic, and safe to send again.

    Times are in seconds. Every call first drops members whose lease has ended and lets those count whose hold-down has
    ended; when nobody counts, all count that live and do not drain. Each change of who counts raises the epoch.

    Raises:
        GroupBackendError: the store did not answer; whether it did what it was asked is unknown.
    """

    def join(self, group: str, who: Candidate, *, lease: float, hold_down: float, take_over: bool) -> GroupView:
        """Make `who` a member; one of the same name gives way if ``take_over``, else it stays and `who` is none.

        A member that takes over keeps the standing of the one before.
        """

    def beat(self, groups: Sequence[str], who: Candidate, *, lease: float) -> list[GroupView]:
        """Renew the lease of `who` in those of the groups of which it is still a member; views of all, in order."""

    def drain(self, group: str, who: Candidate, *, draining: bool) -> GroupView:
        """Take `who` out of the ring and leave it a member, or let it back in."""

    def leave(self, group: str, who: Candidate) -> None:
        """Forget `who`; one of the same name that was started later stays."""

    def look(self, group: str) -> GroupView:
        """Read the group."""

    def close(self) -> None:
        """Close connections."""
