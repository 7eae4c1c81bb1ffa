"""Requests that wait with nobody in them: how work is set aside while its lock is busy."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from locking.errors import AlreadyHeld, InvalidRequest, ResourceLocked
from locking.lock import Lock
from locking.modes import LockMode
from locking.owner import Owner
from locking.request import Names, moment, seconds, text, wanted


class Unattended:
    """The part of `LockManager` for requests with nobody in them."""

    _owner: Owner

    def enqueue(
        self,
        request_id: str,
        names: Names,
        mode: LockMode = LockMode.EXCLUSIVE,
        *,
        patience: float = 86400.0,
        provisional: float = 60.0,
        lease: float = 30.0,
        purpose: str = "",
        priority: int = 0,
        owner: str | None = None,
        task: str | None = None,
        max_hold: float | None = None,
        lock_delay: float = 0.0,
        arrived: float | None = None,
        loud: bool = False,
        on_lost: Callable[[Lock], object] | None = None,
    ) -> Lock | None:
        """Ask without blocking: the lock if it is free, else None, and the request waits with nobody in it.

        For work that is set aside while its lock is busy. Whichever process sets the lock free grants it to the request
        and hears so by its `on_grants`; calling this again with the same `request_id`, in any process, then fetches the
        lock, under the fence of the grant. Calling it while the request still waits keeps its place.

        A lock is fetched once: with it the request is over, and the same `request_id` asks anew. So two runs of one
        piece of work never share a grant.

        `request_id` is chosen by the caller, one for each piece of work, 1 to 80 characters; whoever knows it may fetch
        the lock. The request waits for `patience` seconds (defaults to a day) without being asked for again; once
        granted it has to be fetched within `provisional` seconds (defaults to 60.0, at most the lease), else the lock
        goes on to the next, and the request has its old place again as soon as it is asked for. `arrived` is since when
        the work waits, in seconds since 1970, where that is earlier than the request. `loud` raises an error instead of
        None, which says who is in the way. All other arguments are those of `acquire`.

        Raises:
            ResourceLocked: A name is busy, and the call is loud. The request waits.
            AlreadyHeld: The same owner holds one of the names; the request doesn't wait.
        """
        wants = wanted(names, mode)
        if LockMode.OBSERVE in wants.values():
            raise InvalidRequest("observing never waits: enqueue takes EXCLUSIVE and SHARED")
        self._owner.notice_fork()
        asked = self._owner.request(
            wants,
            wait=True,
            owner=owner,
            task=task,
            lease=lease,
            purpose=purpose,
            priority=priority,
            max_hold=max_hold,
            lock_delay=lock_delay,
        )
        request = replace(
            asked,
            ticket=_request_id(request_id),
            mailbox="",
            patience=seconds("patience", patience, positive=True),
            provisional=seconds("provisional", provisional, positive=True),
            arrived=None if arrived is None else moment("arrived", arrived),
        )
        try:
            return self._owner.enqueue(request, on_lost)
        except AlreadyHeld:
            raise
        except ResourceLocked:
            if loud:
                raise
            return None

    def cancel(self, request_id: str) -> bool:
        """Forget a request of `enqueue`, or a handle of `transfer`, not fetched so far; whether it was granted."""
        return self._owner.store.release(_request_id(request_id))

    def tend(self) -> Sequence[str]:
        """End what is over, grant what that sets free, and tell which requests of `enqueue` still wait.

        Whoever waits in a process sees to the ends of leases by itself; for requests with nobody in them somebody has
        to, every few seconds.
        """
        return self._owner.store.tend()

    def change_priority(self, request_id: str, priority: int) -> bool:
        """Move a request of `enqueue` to where another priority places it, its arrival kept; whether it could be.

        Only what waits can be moved: False for a request that is unknown, or has its lock already. One that was granted
        its lock but hasn't fetched it counts as waiting: it is back in the queue if it doesn't. Whoever can have a lock
        in the new order is granted it.

        Raises:
            InvalidRequest: `priority` isn't an integer, or `request_id` can't be an id.
        """
        return self._owner.change_priority(_request_id(request_id), priority)


def _request_id(value: object) -> str:
    if not text("request_id", value, 80):
        raise InvalidRequest("request_id must not be empty")
    return str(value)
