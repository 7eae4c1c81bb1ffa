"""What a group is: its members, and who of them counts, at one epoch."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from partitioning.errors import InvalidGroupOptions
from partitioning.hash_ring import HashRing
from partitioning.keys import hash_key

T = TypeVar("T")


class Standing(StrEnum):
    """How a process stands in a group."""

    ACTIVE = "active"
    """It counts: the ring gives it a share."""
    WAITING = "waiting"
    """It lives, but not for long enough yet to count."""
    DRAINING = "draining"
    """It lives and wants no share any more."""
    ABSENT = "absent"
    """It is no member, or not yet."""
    LAPSED = "lapsed"
    """Its lease has ended by its own clock: somebody else may have its share."""
    SUPERSEDED = "superseded"
    """A process that was started later has its name."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process that wants to be a member: the name it counts under, and which start of it this is.

    Raises:
        InvalidGroupOptions: the weight is not above 0.
    """

    name: str
    incarnation: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise InvalidGroupOptions(f"weight must be above 0, got {self.weight}")


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the group knows it; ``lease_left`` and ``age`` are in seconds of the server's clock."""

    name: str
    incarnation: str
    weight: float
    standing: Standing
    lease_left: float
    age: float


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group at one moment, read in one call.

    Two views of the same epoch have the same members that count.

    Args:
        epoch: grows whenever the members that count change, also when one of them is restarted; 0 before the first.
        everyone: all that live, sorted by name, whatever their standing.
        next_change: seconds until a lease or a hold-down ends if nobody acts; None for an empty group.
    """

    epoch: int
    everyone: tuple[Member, ...] = ()
    next_change: float | None = None

    @property
    def members(self) -> list[str]:
        """The names of the members that count, sorted."""
        return [member.name for member in self.everyone if member.standing is Standing.ACTIVE]

    def ring(self) -> HashRing:
        """Build the ring of the members that count; its generation is the epoch."""
        weights = {member.name: member.weight for member in self.everyone if member.standing is Standing.ACTIVE}
        return HashRing(weights, weights=weights, generation=self.epoch)

    def share_of(self, member: str, items: Iterable[T], *, key: Callable[[T], str | bytes] = hash_key) -> "Subset[T]":
        """Return a member's part of a set, in the set's order; nothing for one that does not count.

        For a process that is no member itself, such as one that works for a member.

        Raises:
            UnstableKey: an item has no key.
        """
        if member not in self.members:
            return Subset((), self.epoch)
        ring = self.ring()
        return Subset((item for item in items if ring.get_node(key(item)) == member), self.epoch)

    def standing_of(self, who: Candidate) -> Standing:
        """How a process stands in this view."""
        for member in self.everyone:
            if member.name == who.name:
                return member.standing if member.incarnation == who.incarnation else Standing.SUPERSEDED
        return Standing.ABSENT


class Subset(list[T]):
    """One member's share of a set, in the set's order, and the epoch of the group that it holds for.

    Args:
        items: the share.
        epoch: None where no group decided: there is no backend, or it is silent.
    """

    def __init__(self, items: Iterable[T], epoch: int | None) -> None:
        super().__init__(items)
        self.epoch = epoch
