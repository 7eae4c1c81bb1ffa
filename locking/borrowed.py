"""A handle on a grant that somebody else holds: good for checking it and for writing under it, for nothing else."""

from typing import TYPE_CHECKING, NoReturn

from locking.clock import local_deadline, now
from locking.errors import LockError, LockLost, listed
from locking.lock import Lock
from locking.modes import LockMode
from locking.records import Holder
from locking.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from locking.owner import Owner


class BorrowedLock(Lock):
    """The grant with a certain fence, under which its holder lets others work; made by `LockManager.borrow`.

    Each `ensure` asks the store, once for each name. Nothing renews or releases the grant but its holder.
    """

    def __init__(self, owner: "Owner", names: "Iterable[str]", fence: int) -> None:
        super().__init__(owner, Request(f"borrowed.{fence}", {}, owner.name, info={"purpose": "borrowed"}))
        self.fence = fence
        self._look(tuple(names))

    def _look(self, names: "Sequence[str]") -> None:
        """Ask the store for the grant on each name."""
        sent = now()
        seen = {name: self._grant_on(name) for name in names}
        gone = [name for name, holder in seen.items() if holder is None]
        if gone:
            self._lost_because = f"whoever lent it no longer holds {listed(gone)}"
            self._held = self._held or dict.fromkeys(names, LockMode.OBSERVE)
            raise LockLost(self._loss())
        holders = [holder for holder in seen.values() if holder is not None]
        self._held = {holder.name: holder.mode for holder in holders}
        self._deadline = local_deadline(sent, min(holder.lease_left for holder in holders))

    def _grant_on(self, name: str) -> Holder | None:
        holders = self._holder.store.holders(name)
        return next((one for one in holders if one.fence == self.fence and one.lease_left > 0), None)

    def ensure(self, min_left: float = 0.0) -> None:
        """Go on only if the grant is still held; see `Lock.ensure`.

        Raises:
            LockLost: It ended, or has less than `min_left` seconds left.
            StoreError: The store can't be asked.
        """
        if not self._released and not self._lost_because:
            self._look(self.names)
        super().ensure(min_left)

    @property
    def lost(self) -> bool:
        """Whether the grant was seen to have ended; nobody asks the store for this."""
        return bool(self._lost_because)

    def release(self) -> bool:
        """Borrow no longer; the grant goes on. Whether it was still held when last looked at."""
        held = not self._released and not self.lost
        self._released = True
        return held

    def upgrade(self, wait: float | None = 0.0) -> NoReturn:
        """Not for borrowers.

        Raises:
            LockError: Always.
        """
        raise self._not_mine("upgraded")

    def downgrade(self) -> NoReturn:
        """Not for borrowers.

        Raises:
            LockError: Always.
        """
        raise self._not_mine("downgraded")

    def transfer(
        self, within: float = 60.0, *, owner: str | None = None, task: str | None = None, purpose: str = ""
    ) -> NoReturn:
        """Not for borrowers.

        Raises:
            LockError: Always.
        """
        raise self._not_mine("handed on")

    def _not_mine(self, verb: str) -> LockError:
        return LockError(f"the lock on {listed(self.names)} is borrowed: only its holder decides that it is {verb}")
