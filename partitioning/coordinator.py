"""Membership in groups, and each member's share of a set."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, overload
from uuid import uuid4

from partitioning import clock as boot_clock
from partitioning.errors import ErrorJoiningPartitioningGroup, GroupBackendError, MemberNotInGroupError
from partitioning.group import Candidate, GroupView, Standing, Subset
from partitioning.keys import hash_key
from partitioning.membership import MEMBERS, Membership
from partitioning.redis import RedisGroupStore
from partitioning.state import BackendState, Contact, CoordinatorState
from partitioning.store import GroupStore
from partitioning.timing import check_timing, tries

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: The shortest pause between two heartbeats, in seconds.
SHORTEST_PAUSE = 0.02


class PartitionCoordinator:
    """Divides sets among the live members of groups.

    The ring says who *should* act. Around a change two members may hold different views for a moment, so whoever acts
    does it under a lock or a claimed row, which says who *may*.

    Args:
        url: Redis or Valkey that keeps the groups; None: there are no others, and this process owns all.
        member_id: the name that counts on the ring, the same after a restart. Defaults to a random UUID.
        lease: seconds that a member is believed in without a heartbeat, above 0. Defaults to 6.0.
        heartbeat: seconds between heartbeats, at most half a lease. Defaults to a third of the lease.
        hold_down: seconds that a newcomer must live before it counts. Defaults to two heartbeats.
        weight: share relative to the other members, above 0. Defaults to 1.0.
        max_backoff: the longest pause in seconds between attempts while the backend is down. Defaults to 30.0.
        retry_wait: the longest random pause in seconds between the five tries of an extraction. Defaults to 2.0.
        store: where the groups are kept instead of `url`. Defaults to None.
        clock: seconds since boot, for tests.

    Raises:
        InvalidGroupOptions: an option that cannot work.
    """

    def __init__(
        self,
        url: str | None,
        member_id: str | bytes | None = None,
        *,
        lease: float = 6.0,
        heartbeat: float | None = None,
        hold_down: float | None = None,
        weight: float = 1.0,
        max_backoff: float = 30.0,
        retry_wait: float = 2.0,
        store: GroupStore | None = None,
        clock: Callable[[], float] = boot_clock.now,
    ) -> None:
        name = member_id.decode() if isinstance(member_id, bytes) else member_id
        self._who = Candidate(name or str(uuid4()), secrets.token_hex(8), weight)
        self._lease = lease
        self._pause = lease / 3 if heartbeat is None else heartbeat
        self._hold_down = 2 * self._pause if hold_down is None else hold_down
        check_timing(lease=lease, heartbeat=self._pause, hold_down=self._hold_down, max_backoff=max_backoff)
        self._retry_wait = retry_wait
        self._store = store or (RedisGroupStore(url, restart_grace=lease) if url else None)
        self._contact = Contact(exists=self._store is not None, max_backoff=max_backoff)
        self._clock = clock
        self._groups: dict[str, Membership] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, background: bool = True) -> None:
        """Begin to take part. Nothing is waited for: groups are joined when the backend answers.

        Args:
            background: beat in a thread of its own. If False, the caller calls ``heartbeat``. Defaults to True.
        """
        if self._store is None or self.is_active():
            return
        self._contact.state = BackendState.CONNECTING
        self._stopping.clear()
        if background:
            self._thread = threading.Thread(target=self._beat_on, name="group-heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Leave every group, so that the others take over at once, and disconnect; it may be started again."""
        if self._store is None or not self.is_active():
            return
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            try:
                for group in list(self._groups):
                    self.leave_group(group)
            except GroupBackendError as error:
                logger.warning(
                    "The groups were not left and will forget %s when its lease ends: %s", self._who.name, error
                )
            self._groups.clear()
            self._contact.state = BackendState.STOPPED
            self._store.close()

    def is_active(self) -> bool:
        """True between ``start`` and ``stop`` where there is a backend, whether it answers or not."""
        return self._contact.sought

    @property
    def state(self) -> CoordinatorState:
        """What is known now, without asking anybody."""
        groups = {name: membership.state for name, membership in list(self._groups.items())}
        error = str(self._contact.error) if self._contact.error else None
        return CoordinatorState(self._who, self._contact.state, error, groups)

    def join_group(self, group: str, *, wait: float = 0.0) -> None:
        """Take part in a group from now on; while that fails it is tried again with every heartbeat.

        Args:
            group: name of the group; an empty one does nothing.
            wait: seconds to wait for success. Defaults to 0.0: one attempt, and the heartbeats do the rest.

        Raises:
            ErrorJoiningPartitioningGroup: there was no success within ``wait``, if that is above 0.
        """
        if not group or self._store is None:
            return
        membership = self._membership(group)
        deadline = self._clock() + wait
        pause = self.heartbeat()
        while membership.standing not in MEMBERS and (left := deadline - self._clock()) > 0:
            self._stopping.wait(min(pause, left))
            pause = self.heartbeat()
        if wait > 0 and membership.standing not in MEMBERS:
            why = self._contact.error or f"this process is {membership.standing}"
            raise ErrorJoiningPartitioningGroup(group, str(why))

    def leave_group(self, group: str) -> None:
        """Take part no more; a group that was not joined is left alone.

        Raises:
            GroupBackendError: the backend did not answer; it forgets this member when its lease ends.
        """
        with self._lock:
            if self._store is not None and group in self._groups:
                del self._groups[group]
                self._store.leave(group, self._who)
                logger.info("Left partitioning group %s", group)

    def drain(self, group: str, *, draining: bool = True) -> None:
        """Give up one's share of a group and stay a member, to finish what runs; or take a share again.

        It takes effect now, or with the first heartbeat that the backend answers.
        """
        self._membership(group).draining = draining
        self.heartbeat()

    def heartbeat(self) -> float:
        """Show every group that this process lives, and join those that don't have it. Never raises for the backend.

        Returns:
            Seconds after which the next heartbeat is due: sooner when a lease or a hold-down of the group ends before,
            later, with growing pauses, while the backend is down.
        """
        if not self.is_active():
            return self._pause
        try:
            with self._lock:
                self._refresh(list(self._groups.values()))
                views = [membership.view for membership in self._groups.values()]
        except GroupBackendError as error:
            self._contact.silent(error)
            return self._contact.backoff()
        changes = [view.next_change for view in views if view and view.next_change is not None]
        return max(SHORTEST_PAUSE, min([self._pause, *changes]))

    def members(self, group: str) -> list[str]:
        """Return the sorted names of the members that count, read now; this process alone where there is no backend.

        Raises:
            GroupBackendError: the backend did not answer.
        """
        return [self._who.name] if self._store is None else self.view(group).members

    def view(self, group: str) -> GroupView:
        """Read a group, whether this process takes part or not; it need not be started.

        Raises:
            GroupBackendError: the backend did not answer.
        """
        return self._store.look(group) if self._store else GroupView(epoch=0)

    @overload
    def extract_my_subset(self, group: None, items: T, *, key: Callable[..., str | bytes] = ...) -> T: ...

    @overload
    def extract_my_subset(
        self, group: str, items: Iterable[T], *, key: Callable[[T], str | bytes] = ...
    ) -> Subset[T]: ...

    def extract_my_subset(
        self, group: str | None, items: object, *, key: Callable[..., str | bytes] = hash_key
    ) -> object:
        """Return this member's share of a set, in the set's order; joins the group first where necessary.

        Without a group the set comes back as it is; without a backend all of it belongs to this process. While the
        backend is down the share is empty, its epoch None, and ``state`` says why.

        Args:
            group: name of the group, or None.
            items: the whole set, the same for every member.
            key: gives an item's key, the same in every process. Defaults to ``hash_key``.

        Raises:
            MemberNotInGroupError: after five tries this process is still not in the group.
            UnstableKey: an item has no key.
        """
        if group is None:
            return items
        wanted: Iterable[object] = items  # type: ignore[assignment]  # the overloads say so
        if not group or self._store is None:
            return Subset(wanted, None)
        try:
            return tries(self._retry_wait)(self._extract, group, list(wanted), key)
        except GroupBackendError as error:
            self._contact.silent(error)
            logger.exception("Error getting group membership info from coordination backend.")
            return Subset((), None)

    def my_share(
        self, group: str, items: Iterable[T], *, key: Callable[[T], str | bytes] = hash_key
    ) -> Subset[T] | None:
        """The same from what the last heartbeat saw, without asking anybody; None while that is not known."""
        if self._store is None:
            return Subset(items, None)
        membership = self._groups.get(group)
        return membership.share(items, key) if membership else None

    def my_inheritance(self, group: str, items: Iterable[T], *, key: Callable[[T], str | bytes] = hash_key) -> list[T]:
        """What comes on top of this member's share if those that missed a heartbeat, or more, are dead.

        They may well live: only what is safe in two hands at once may be done with it before their lease has ended.
        By what the last heartbeat saw, without asking anybody.
        """
        membership = self._groups.get(group)
        return membership.inheritance(items, key) if membership else []

    def _extract(self, group: str, items: list[T], key: Callable[[T], str | bytes]) -> Subset[T]:
        if not self.is_active():
            return Subset((), None)
        membership = self._membership(group)
        self._refresh([membership])
        if membership.view and membership.standing not in (*MEMBERS, Standing.LAPSED):
            raise MemberNotInGroupError(group, membership.view.members, self._who.name)
        share = membership.share(items, key)
        return Subset((), None) if share is None else share

    def _membership(self, group: str) -> Membership:
        with self._lock:
            return self._groups.setdefault(group, Membership(group, self._who, self._lease, self._clock))

    def _refresh(self, memberships: Sequence[Membership]) -> None:
        """Renew memberships, all in one question; make one where there is none yet, or none any more."""
        assert self._store is not None  # noqa: S101 - only called where there is a store
        store = self._store
        with self._lock:
            known = [membership for membership in memberships if membership.view is not None]
            sent = self._clock()
            views = store.beat([one.group for one in known], self._who, lease=self._lease) if known else []
            for membership, view in zip(known, views, strict=True):
                self._settle(store, membership, view, sent)
            for membership in memberships:
                if membership not in known:
                    sent = self._clock()
                    self._settle(store, membership, self._join(store, membership.group, take_over=True), sent)

    def _settle(self, store: GroupStore, membership: Membership, view: GroupView, sent: float) -> None:
        """Take in what a group answered to a sign of life, and say again what it does not know."""
        group = membership.group
        if view.standing_of(self._who) is Standing.ABSENT:
            sent = self._clock()
            view = self._join(store, group, take_over=False)
        if membership.draining is not (view.standing_of(self._who) is Standing.DRAINING):
            view = store.drain(group, self._who, draining=membership.draining)
        self._contact.answered()
        membership.accept(view, sent)

    def _join(self, store: GroupStore, group: str, *, take_over: bool) -> GroupView:
        return store.join(group, self._who, lease=self._lease, hold_down=self._hold_down, take_over=take_over)

    def _beat_on(self) -> None:
        while not self._stopping.wait(self.heartbeat()):
            pass
