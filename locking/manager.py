"""The manager: where locks are asked for."""

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from locking.borrowed import BorrowedLock
from locking.errors import InvalidRequest
from locking.lock import Lock
from locking.modes import LockMode
from locking.owner import Owner
from locking.records import Holder, LockState, Waiter
from locking.request import Names, optional_seconds, text, wanted, whole, word
from locking.store import OnGrants
from locking.unattended import Unattended

log = logging.getLogger(__name__)


class LockManager(Unattended):
    """Takes, keeps and hands over locks in one store. Safe to share between threads; survives a fork.

    Args:
        url: The store, see `from_url`.
        ageing: Seconds of arrival that one level of priority is worth in a queue, so that nothing starves; None
            orders strictly by priority. The same in every process of a deployment.
        namespace: Sets apart several deployments in one Redis or SQL database: letters, digits and underscores.
        on_grants: Hears of grants to waiters without a mailbox, made by this process on its way.
        asker: Names the owner for a request that names none, or gives None for the manager's own name.
    """

    def __init__(
        self,
        url: str,
        *,
        ageing: float | None = 60.0,
        namespace: str = "locks",
        on_grants: OnGrants | None = None,
        asker: Callable[[], str | None] | None = None,
    ) -> None:
        levels = optional_seconds("ageing", ageing, positive=True)
        self._owner = Owner(url, word("namespace", namespace), levels, on_grants, asker)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        ageing: float | None = 60.0,
        namespace: str = "locks",
        on_grants: OnGrants | None = None,
        asker: Callable[[], str | None] | None = None,
    ) -> Self:
        """A manager of the locks at `url`.

        Redis and Valkey: `redis://`, `rediss://`, `unix://`, `redis+socket://`, `sentinel://`. SQL, by SQLAlchemy's
        URLs: SQLite, PostgreSQL (`postgresql+psycopg://`), MySQL and MariaDB (`mysql+pymysql://`). Makes the tables
        where they are missing. Options as in the class.

        Raises:
            InvalidRequest: The address can't be read or no such store is known.
            StoreError: The store can't be reached, or isn't fit to keep locks.
        """
        return cls(url, ageing=ageing, namespace=namespace, on_grants=on_grants, asker=asker)

    @property
    def owner(self) -> str:
        """Who this manager is to others: host, pid and a random part, new with each start and each fork."""
        return self._owner.name

    def acquire(
        self,
        names: Names,
        mode: LockMode = LockMode.EXCLUSIVE,
        *,
        wait: float | None = 0.0,
        lease: float = 30.0,
        purpose: str = "",
        priority: int = 0,
        owner: str | None = None,
        task: str | None = None,
        max_hold: float | None = None,
        lock_delay: float = 0.0,
        reentrant: bool = False,
        on_lost: Callable[[Lock], object] | None = None,
    ) -> Lock:
        """Take all the names or none, now.

        Args:
            names: One name, an iterable of names, or a mapping of name to mode; duplicates count once.
            mode: For names that come without a mode. Defaults to EXCLUSIVE.
            wait: Seconds to queue for, one budget; None waits without end. Defaults to 0.0: an error at once.
            lease: Seconds after which the lock ends if its process stops renewing it, 0.001 to a year. Choose at least
                three times the longest stall that the work may cause. Defaults to 30.0.
            purpose: What it is for, shown to whoever is kept out.
            priority: In the queue the lower number goes first; any integer. Defaults to 0.
            owner: Who asks, shown to others and matched by `reap`. The same owner may not ask twice for one name.
                Defaults to what `asker` says, else to this manager, where each thread counts as an asker of its own.
            task: The id of the task that asks, shown to others.
            max_hold: Seconds after which the lock ends however well it is renewed. Defaults to no such end.
            lock_delay: Seconds for which the names stay closed after an unclean end, for work that no fence can
                guard. Defaults to 0.0.
            reentrant: Let the same owner have what it already holds: the same handle, one more release.
            on_lost: Called once, from the renewal thread, when the lock is lost.

        Raises:
            InvalidRequest: An argument can't be meant.
            ResourceLocked: A name is busy and `wait` is 0; says who holds it.
            LockTimeout: A name was still busy after `wait`.
            AlreadyHeld: The same owner holds one of the names.
            LockOrderError: A blocking acquire inside another, against the order of names.
            StoreError: The store can't be reached or refuses.
        """
        wants = wanted(names, mode)
        wait = optional_seconds("wait", wait)
        self._owner.notice_fork()
        request = self._owner.request(
            {name: mode for name, mode in wants.items() if mode is not LockMode.OBSERVE},
            wait=wait != 0,
            owner=owner,
            task=task,
            lease=lease,
            purpose=purpose,
            priority=priority,
            max_hold=max_hold,
            lock_delay=lock_delay,
        )
        if reentrant and (lock := self._owner.held.covering(request)):
            return lock.enter_again()
        if request.wait:
            self._owner.held.check_order(request)
        observed = [name for name, mode in wants.items() if mode is LockMode.OBSERVE]
        return self._owner.take(request, wait, observed, on_lost)

    def acquire_free(
        self,
        names: Names,
        mode: LockMode = LockMode.EXCLUSIVE,
        *,
        at_least: int = 1,
        lease: float = 30.0,
        purpose: str = "",
    ) -> Lock:
        """Take whichever of the names are free now, but `at_least` that many or none; `lock.names` tells which.

        Raises:
            ResourceLocked: Fewer than `at_least` (1 or more, defaults to 1) were free.
        """
        if whole("at_least", at_least) < 1:
            raise InvalidRequest(f"at_least must be 1 or more, not {at_least}")
        wants = wanted(names, mode)
        if LockMode.OBSERVE in wants.values():
            raise InvalidRequest("observing is always free: acquire_free takes EXCLUSIVE and SHARED")
        self._owner.notice_fork()
        request = self._owner.request(wants, wait=False, lease=lease, purpose=purpose, at_least=at_least)
        return self._owner.take(request, 0.0, (), None)

    def adopt(
        self,
        handle: str,
        *,
        lease: float = 30.0,
        purpose: str = "",
        owner: str | None = None,
        task: str | None = None,
        on_lost: Callable[[Lock], object] | None = None,
    ) -> Lock:
        """Take over a lock that `Lock.transfer` handed on, under the same fence; the second to try finds it gone.

        Raises:
            LockLost: The handle was adopted already, or its time is over.
        """
        self._owner.notice_fork()
        request = self._owner.request({}, wait=False, lease=lease, purpose=purpose, owner=owner, task=task)
        return self._owner.adopt(text("handle", handle, 100), request, on_lost)

    def borrow(self, names: Names, fence: int) -> Lock:
        """A handle on the grant with this fence, to check it and to write under it while its holder lets you.

        Each `ensure` asks the store; releasing the handle, or losing it, does nothing to the grant.

        Raises:
            LockLost: No such grant is held on all the names.
        """
        self._owner.notice_fork()
        return BorrowedLock(self._owner, wanted(names, LockMode.OBSERVE), whole("fence", fence))

    def holders(self, name: str) -> Sequence[Holder]:
        """Who holds `name` now; empty if it is free."""
        return tuple(self._owner.store.holders(*wanted(name, LockMode.OBSERVE)))

    def waiters(self, name: str) -> Sequence[Waiter]:
        """Who waits for `name` now, in the order in which they will get it."""
        return tuple(self._owner.store.waiters(*wanted(name, LockMode.OBSERVE)))

    def list(self) -> Sequence[LockState]:
        """Every name that somebody holds or waits for, sorted."""
        return tuple(self._owner.store.list())

    def break_(self, name: str, reason: str) -> Sequence[Holder]:
        """End every grant on `name`, wholly, and log who held it and why it was broken; for operators.

        The holders learn of it at their next renewal; until then only the fence keeps them out.
        """
        why = text("reason", reason)
        broken = tuple(self._owner.store.break_(*wanted(name, LockMode.OBSERVE)))
        for holder in broken:
            log.warning("lock broken by %s: %s; reason: %s", self.owner, holder, why or "none given")
        return broken

    def reap(self, owner: str) -> int:
        """End every lock and every wait of an owner that is known to be dead; how many locks it held.

        The match is exact. Locks with a `lock_delay` stay closed for that long from now.
        """
        return self._owner.store.reap(text("owner", owner, 200))

    def close(self) -> None:
        """Release what is still held, end the threads and the connections. Whoever waits gets an error."""
        self._owner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
