"""What one manager holds now, and what that means for the next request of the same asker."""

from collections.abc import Sequence
from weakref import WeakValueDictionary

from locking.errors import LockOrderError
from locking.lock import Lock
from locking.modes import LockMode
from locking.request import Request


class Held:
    """The locks of one manager, for as long as somebody has a handle to them."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    def all(self) -> Sequence[Lock]:
        """Return every lock."""
        return list(self._locks.values())

    def add(self, lock: Lock) -> None:
        """Take note of a grant."""
        self._locks[lock.request_id] = lock

    def discard(self, lock: Lock) -> None:
        """Forget a lock that was released or handed on."""
        self._locks.pop(lock.request_id, None)

    def covering(self, request: Request) -> Lock | None:
        """Return a lock of the same asker that covers `request`."""
        strong = (LockMode.EXCLUSIVE,)
        for lock in self._of_asker(request):
            if all(lock.modes.get(name) in (*strong, mode) for name, mode in request.wants.items()):
                return lock
        return None

    def check_order(self, request: Request) -> None:
        """Refuse to wait for a name below one that the asker holds already.

        Raises:
            LockOrderError: it holds one.
        """
        first = min(request.wants, default="")
        for lock in self._of_asker(request):
            above = [name for name, mode in lock.modes.items() if mode is not LockMode.OBSERVE and name > first]
            if above and not set(lock.modes) & set(request.wants):
                raise LockOrderError(
                    f"waiting for {first!r} while holding {above[-1]!r} may deadlock with a caller that does the"
                    " reverse: ask for all at once, in ascending order, or with wait=0"
                )

    def _of_asker(self, request: Request) -> Sequence[Lock]:
        return [
            lock
            for lock in self.all()
            if lock.owner == request.owner and lock.session == request.session and not lock.lost
        ]
