"""The handle of a held lock."""

import logging
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from locking.clock import local_deadline, now
from locking.errors import LockError, LockLost, listed
from locking.modes import LockMode
from locking.request import Request
from locking.store import Reply

if TYPE_CHECKING:
    from locking.owner import Owner

log = logging.getLogger(__name__)


class Future(Protocol):
    """What `Lock.release_after` can follow, `concurrent.futures.Future` for one."""

    def add_done_callback(self, fn: Callable[[Any], object], /) -> object:
        """Call `fn` once the work is over, at once if it is over already."""


class Lock:
    """One grant: all its names are held under one fence until it is released or lost.

    Made by `LockManager.acquire`; also a context manager that releases at the end. A handle belongs to the process
    that acquired it: after a fork the child sees it as lost.

    Attributes:
        fence: Larger than that of every earlier grant on any of the names; 0 for a pure observer.
        names: What is held or observed, sorted.
        owner: Who holds it.
        lease: Seconds that the grant lives without renewal.
        max_hold: Seconds after which it ends in spite of renewals, if it was asked for with such an end.
    """

    def __init__(
        self,
        holder: "Owner",
        request: Request,
        *,
        observed: Mapping[str, int] | None = None,
        on_lost: Callable[["Lock"], object] | None = None,
    ) -> None:
        self.request_id = request.id
        self.owner = request.owner
        self.session = request.session
        self.lease = request.lease
        self.max_hold = request.max_hold
        self.purpose = str(request.info["purpose"])
        self.fence = 0
        self._holder = holder
        self._pid = os.getpid()
        self._held: Mapping[str, LockMode] = {}
        self._observed = observed or {}
        self._deadline = self._since = 0.0
        self._released = False
        self._lost_because = ""
        self._on_lost = on_lost
        self._entries = 0

    def __repr__(self) -> str:
        state = "released" if self.released else "lost" if self.lost else f"{self.remaining():.1f} s left"
        return f"<Lock {listed(self.names)} {self.mode.value} fence={self.fence} {state}>"

    @property
    def names(self) -> tuple[str, ...]:
        """What is held or observed, sorted."""
        return tuple(sorted({*self._held, *self._observed}))

    @property
    def modes(self) -> Mapping[str, LockMode]:
        """The mode of each name."""
        return {name: self._held.get(name, LockMode.OBSERVE) for name in self.names}

    @property
    def mode(self) -> LockMode:
        """The weakest mode among the names: EXCLUSIVE only if all of them are."""
        modes = set(self.modes.values())
        return next(mode for mode in (LockMode.OBSERVE, LockMode.SHARED, LockMode.EXCLUSIVE) if mode in modes)

    @property
    def released(self) -> bool:
        """Whether it was given back, or handed on."""
        return self._released

    @property
    def lost(self) -> bool:
        """Whether the lock is no longer certain to be held, though it wasn't released; known without asking."""
        if self._released or not self._held:
            return False
        return bool(self._lost_because) or self._pid != os.getpid() or now() >= self._deadline

    def remaining(self) -> float:
        """Seconds for which the lock is certainly still held if nothing renews it; 0.0 if it isn't."""
        if self._released or self.lost or not self._held:
            return 0.0
        return max(0.0, self._deadline - now())

    def ensure(self, min_left: float = 0.0) -> None:
        """Go on only if the lock is still held, with at least `min_left` seconds (0 or more) of its lease left.

        Raises:
            LockLost: It was released or lost, or has less than that left.
        """
        if self._released:
            raise LockLost(f"the lock on {listed(self.names)} was released")
        if self.lost:
            raise LockLost(self._loss())
        if self._held:
            self._holder.check_renewal()
            if self.remaining() < min_left:
                raise LockLost(f"the lock on {listed(self.names)} has {self.remaining():.3f} s left, not {min_left}")

    def validate(self) -> bool:
        """Whether no exclusive grant came on the observed names since they were observed.

        The optimistic reader's question: observe, read, validate. A store remembers for an hour; after that, False.
        """
        return self._holder.unchanged(self._observed)

    def release(self) -> bool:
        """Give the lock back; whether it was still held. A second call does nothing.

        Raises:
            StoreError: The store can't be reached; the lock is released when it can be, or its lease ends it.
        """
        if self._entries:
            self._entries -= 1
            return True
        if self._released or self._pid != os.getpid():
            return False
        known_lost = self.lost
        self._released = True
        if not self._held:
            return True
        log.debug("request %s ends, %r (held for %.2f s): %s", self.request_id, self, now() - self._since, self.purpose)
        return self._holder.give_back(self) and not known_lost

    def upgrade(self, wait: float | None = 0.0) -> None:
        """Make every name exclusive, under a new fence; whatever was read under the shared lock has to be read again.

        While it waits (seconds, None: without end) the shared lock is kept, in front of every other waiter. Does
        nothing if all names are exclusive already. Defaults to not waiting.

        Raises:
            UpgradeConflict: Another sharer of a name is upgrading already.
            ResourceLocked: Others share a name and `wait` is 0; the shared lock is kept.
            LockTimeout: They still do after `wait`; the shared lock is kept.
            LockLost: This lock is no longer held.
        """
        self.ensure()
        self._holder.upgrade(self, wait)

    def downgrade(self) -> None:
        """Make every name shared, without a gap and under the same fence, and let in the sharers who head the queue.

        Raises:
            LockLost: This lock is no longer held.
        """
        self.ensure()
        self._holder.downgrade(self)

    def transfer(
        self, within: float = 60.0, *, owner: str | None = None, task: str | None = None, purpose: str = ""
    ) -> str:
        """Hand the lock on: a string with which one other process may adopt it within `within` seconds.

        Until then it is shown as held by `owner` (defaults to the present one), for `task` (defaults to none) and for
        `purpose` (defaults to the present one).

        From here on this handle is released, though the names never become free. Keep the string to yourself: whoever
        has it has the lock. To take the lock back, adopt it yourself.

        Raises:
            LockLost: This lock is no longer held.
        """
        self.ensure()
        handle = self._holder.hand_on(self, within, owner or self.owner, task, purpose or self.purpose)
        self._released = True
        return handle

    def release_after(self, future: Future) -> None:
        """Release the lock when `future` is done, however it ends; leaving the `with` block no longer does.

        If the callback can't be added, the lock is released and the error raised.
        """
        self._entries += 1
        try:
            future.add_done_callback(lambda _: self._release_finally())
        except BaseException:
            self._release_finally()
            raise

    def _release_finally(self) -> None:
        self._entries = 0
        try:
            self.release()
        except LockError:
            log.exception("%r couldn't be released after its work; its lease will end it at the latest", self)

    def enter_again(self) -> Self:
        """Hold once more what is held already; takes one more release. For the manager."""
        self._entries += 1
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._released:
            return
        try:
            was_held = self.release()
        except LockError as release_error:
            if error is None:
                raise
            error.add_note(f"while releasing {listed(self.names)}: {release_error}")
            return
        if not was_held:
            if error is None:
                raise LockLost(self._loss())
            error.add_note(self._loss())

    def _loss(self) -> str:
        because = self._lost_because or (
            "it belongs to the parent process" if self._pid != os.getpid() else "its lease ended"
        )
        return f"the lock on {listed(self.names)} (fence {self.fence}) is lost: {because}"

    def granted(self, reply: Reply, sent: float) -> None:
        """Take over what the store granted to a question sent at `sent`; for the manager."""
        self.fence, self._held, self._since = reply.fence, dict(reply.wants), self._since or now()
        self.renewed(sent, reply.left)

    def renewed(self, sent: float, left: float) -> None:
        """Count the lease down anew; for the renewer."""
        self._deadline = local_deadline(sent, left)

    def lose(self, why: str) -> None:
        """Mark the lock as lost and tell `on_lost`; for the renewer."""
        if self._released or self._lost_because:
            return
        self._lost_because = why
        log.warning("%s", self._loss())
        if self._on_lost:
            try:
                self._on_lost(self)
            except Exception:
                log.exception("on_lost of %r failed", self)
