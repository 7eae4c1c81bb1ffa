"""What one process knows of a group that it wants to be in."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from partitioning.clock import local_deadline
from partitioning.group import Candidate, GroupView, Standing, Subset
from partitioning.hash_ring import HashRing
from partitioning.state import GroupState

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Standings of a process that is in the group.
MEMBERS = (Standing.ACTIVE, Standing.WAITING, Standing.DRAINING)


class Membership:
    """The last view of a group, and until when, by this process's own clock, it may be acted upon.

    Args:
        group: name of the group.
        who: this process.
        lease: seconds that the group believes in a member without a sign of life.
        clock: seconds since boot.
    """

    def __init__(self, group: str, who: Candidate, lease: float, clock: Callable[[], float]) -> None:
        self.group = group
        self.view: GroupView | None = None
        self.draining = False
        self._who = who
        self._lease = lease
        self._clock = clock
        self._deadline = 0.0
        self._ring = HashRing()

    @property
    def standing(self) -> Standing:
        """How this process stands in the group, by all that it can know now."""
        if self.view is None:
            return Standing.ABSENT
        standing = self.view.standing_of(self._who)
        return Standing.LAPSED if standing in MEMBERS and self._clock() >= self._deadline else standing

    @property
    def state(self) -> GroupState:
        """The same, with the epoch and the members of the last view."""
        view = self.view
        return GroupState(self.standing, view.epoch if view else None, tuple(view.members) if view else ())

    @property
    def ring(self) -> HashRing:
        """The ring of the members that count, built once an epoch."""
        view = self.view or GroupView(epoch=0)
        if self._ring.generation != view.epoch:
            self._ring = view.ring()
        return self._ring

    def accept(self, view: GroupView, sent: float) -> None:
        """Take in what the group answered to a sign of life that was sent at ``sent``."""
        before = self.view.standing_of(self._who) if self.view else Standing.ABSENT
        self.view = view
        self._deadline = local_deadline(sent, self._lease)
        after = view.standing_of(self._who)
        if after is not before:
            self._tell(before, after)

    def _tell(self, before: Standing, after: Standing) -> None:
        if after is Standing.SUPERSEDED:
            logger.error(
                "Another process that was started later is member %s of partitioning group %s, so this one takes "
                "nothing; give each process a name of its own.", self._who.name, self.group,
            )  # fmt: skip
        elif before not in MEMBERS and after in MEMBERS:
            logger.info("Joined partitioning group %s", self.group)
        else:
            logger.debug("Member %s of partitioning group %s is %s now", self._who.name, self.group, after)

    def share(self, items: Iterable[T], key: Callable[[T], str | bytes]) -> Subset[T] | None:
        """This process's part of a set by the last view; None when that view may be acted upon no more."""
        standing = self.standing
        if self.view is None or standing is Standing.LAPSED:
            return None
        if standing is not Standing.ACTIVE:
            return Subset((), self.view.epoch)
        ring, me = self.ring, self._who.name
        return Subset((item for item in items if ring.get_node(key(item)) == me), self.view.epoch)

    def inheritance(self, items: Iterable[T], key: Callable[[T], str | bytes]) -> list[T]:
        """What falls to this process if the members that were silent for half their lease don't come back."""
        view, ring, me = self.view or GroupView(epoch=0), self.ring, self._who.name
        counted = {member.name: member for member in view.everyone if member.standing is Standing.ACTIVE}
        silent = {name for name, member in counted.items() if member.lease_left < self._lease / 2} - {me}
        if not silent or self.standing is not Standing.ACTIVE:
            return []
        return [
            item
            for item in items
            if ring.get_node(key(item)) in silent and ring.get_nodes(key(item), 1, ignore=silent) == [me]
        ]
