"""The manager: where locks are asked for."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from locking.clock import now
from locking.errors import (
    AlreadyHeld,
    InvalidRequest,
    LockError,
    LockLost,
    LockOrderError,
    LockTimeout,
    ResourceLocked,
    UpgradeConflict,
)
from locking.lock import Lock
from locking.modes import LockMode
from locking.records import Grant, Holder, LockState, Waiter
from locking.renewal import renewer
from locking.request import Names, Request, optional_seconds, seconds, text, wanted, whole, word
from locking.store import OnGrants, Reply, Status, Store
from locking.stores import open_store
from locking.waiting import Doorbell, wait_for_grant

log = logging.getLogger(__name__)


class LockManager:
    """Takes, keeps and hands over locks in one store. Safe to share between threads; survives a fork.

    Args:
        url: The store, see `from_url`.
        ageing: Seconds of arrival that one level of priority is worth in a queue, so that nothing starves; None
            orders strictly by priority. The same in every process of a deployment.
        namespace: Sets apart several deployments in one Redis or SQL database: letters, digits and underscores.
        on_grants: Hears of grants to waiters without a mailbox, made by this process on its way.
    """

    def __init__(
        self,
        url: str,
        *,
        ageing: float | None = 60.0,
        namespace: str = "locks",
        on_grants: OnGrants | None = None,
    ) -> None:
        self._ageing = optional_seconds("ageing", ageing, positive=True)
        self._on_grants = on_grants
        self._store: Store = open_store(url, word("namespace", namespace), self._granted)
        self._begin()
        try:
            self._store.check()
        except BaseException:
            self._store.close()
            raise

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        ageing: float | None = 60.0,
        namespace: str = "locks",
        on_grants: OnGrants | None = None,
    ) -> Self:
        """A manager of the locks at `url`.

        Redis and Valkey: `redis://`, `rediss://`, `unix://`, `redis+socket://`, `sentinel://`. SQL, by SQLAlchemy's
        URLs: SQLite, PostgreSQL (`postgresql+psycopg://`), MySQL and MariaDB (`mysql+pymysql://`). Makes the tables
        where they are missing. Options as in the class.

        Raises:
            InvalidRequest: The address can't be read or no such store is known.
            StoreError: The store can't be reached, or isn't fit to keep locks.
        """
        return cls(url, ageing=ageing, namespace=namespace, on_grants=on_grants)

    def _begin(self) -> None:
        """Become an owner: at the start, and anew in a forked child."""
        self._pid = os.getpid()
        self._incarnation = secrets.token_hex(8)
        self._host = socket.gethostname()
        self._numbers = count()
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        self._doorbell = Doorbell(self._store, self._incarnation)

    @property
    def owner(self) -> str:
        """Who this manager is to others: host, pid and a random part, new with each start and each fork."""
        self._notice_fork()
        return f"{self._host}:{self._pid}:{self._incarnation}"

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
                Defaults to this manager, where each thread counts as an asker of its own.
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
        self._notice_fork()
        request = self._request(
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
        if reentrant and (lock := self._held_already(request)):
            return lock.enter_again()
        if request.wait:
            self._check_order(request)
        observed = [name for name, mode in wants.items() if mode is LockMode.OBSERVE]
        return self._take(request, wait, observed, on_lost)

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
        self._notice_fork()
        request = self._request(wants, wait=False, lease=lease, purpose=purpose, at_least=at_least)
        return self._take(request, 0.0, (), None)

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
        on_lost: Callable[[Lock], object] | None = None,
    ) -> Lock | None:
        """Ask without blocking: the lock if it is free, else None, and the request waits with nobody in it.

        For work that is set aside while its lock is busy. Whichever process sets the lock free grants it to the request
        and hears so by its `on_grants`; calling this again with the same `request_id`, in any process, then gives the
        lock, under the fence of the grant. Calling it while the request still waits keeps its place and gives None.

        Args:
            request_id: Chosen by the caller, unique for this piece of work, 1 to 80 characters; keep it to yourself,
                whoever has it has the lock.
            names: As for `acquire`.
            mode: As for `acquire`.
            patience: Seconds for which the request waits without being asked for again. Defaults to a day.
            provisional: Seconds within which a grant has to be fetched, else it goes on to the next. Defaults to 60.0.
            lease: And the others: as for `acquire`.
            purpose: As for `acquire`.
            priority: As for `acquire`.
            owner: As for `acquire`.
            task: As for `acquire`.
            max_hold: As for `acquire`.
            lock_delay: As for `acquire`.
            on_lost: As for `acquire`.

        Raises:
            AlreadyHeld: The same owner holds one of the names.
            LockLost: The request was granted, and its grant has ended.
        """
        wants = wanted(names, mode)
        if LockMode.OBSERVE in wants.values():
            raise InvalidRequest("observing never waits: enqueue takes EXCLUSIVE and SHARED")
        self._notice_fork()
        asked = self._request(
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
            id=_request_id(request_id),
            mailbox="",
            patience=seconds("patience", patience, positive=True),
            provisional=seconds("provisional", provisional, positive=True),
        )
        sent = now()
        reply = self._store.acquire(request)
        if reply.status is Status.WAITING:
            return None
        self._raise_unless_granted(reply, tuple(wants))
        return self._keep(Lock(self, request, on_lost=on_lost), reply, sent)

    def cancel(self, request_id: str) -> bool:
        """Forget a request of `enqueue`, or a handle of `transfer`, waiting or granted; whether it held its lock."""
        return self._store.release(_request_id(request_id))

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
        self._notice_fork()
        request = self._request({}, wait=False, lease=lease, purpose=purpose, owner=owner, task=task)
        lock = Lock(self, request, on_lost=on_lost)
        sent = now()
        try:
            reply = self._store.transfer(text("handle", handle, 100), request)
            if reply.status is not Status.GRANTED:
                raise LockLost("the lock handed on was adopted already, or nobody adopted it in time")
        except BaseException:
            self._undo(request.id)
            raise
        return self._keep(lock, reply, sent)

    def holders(self, name: str) -> Sequence[Holder]:
        """Who holds `name` now; empty if it is free."""
        return tuple(self._store.holders(*wanted(name, LockMode.OBSERVE)))

    def waiters(self, name: str) -> Sequence[Waiter]:
        """Who waits for `name` now, in the order in which they will get it."""
        return tuple(self._store.waiters(*wanted(name, LockMode.OBSERVE)))

    def list(self) -> Sequence[LockState]:
        """Every name that somebody holds or waits for, sorted."""
        return tuple(self._store.list())

    def break_(self, name: str, reason: str) -> Sequence[Holder]:
        """End every grant on `name`, wholly, and log who held it and why it was broken; for operators.

        The holders learn of it at their next renewal; until then only the fence keeps them out.
        """
        why = text("reason", reason)
        broken = tuple(self._store.break_(*wanted(name, LockMode.OBSERVE)))
        for holder in broken:
            log.warning("lock broken by %s: %s; reason: %s", self.owner, holder, why or "none given")
        return broken

    def reap(self, owner: str) -> int:
        """End every lock and every wait of an owner that is known to be dead; how many locks it held.

        The match is exact. Locks with a `lock_delay` stay closed for that long from now.
        """
        return self._store.reap(text("owner", owner, 200))

    def close(self) -> None:
        """Release what is still held, end the threads and the connections. Whoever waits gets an error."""
        self._doorbell.close()
        locks = list(self._locks.values()) if self._pid == os.getpid() else []
        try:
            for lock in locks:
                lock.release()
        finally:
            renewer().leave(self._store)
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def unchanged(self, observed: Mapping[str, int]) -> bool:
        """Whether no exclusive grant came on names since they were observed; for `Lock.validate`."""
        return not observed or self._store.observe(sorted(observed)) == observed

    def give_back(self, lock: Lock) -> bool:
        """Release a lock at the store; for `Lock.release`."""
        self._locks.pop(lock.request_id, None)
        renewer().forget([lock.request_id])
        return self._store.release(lock.request_id)

    def check_renewal(self) -> None:
        """See to it that the renewal thread lives; for `Lock.ensure`."""
        renewer().check()

    def upgrade(self, lock: Lock, wait: float | None) -> None:
        """Make a lock exclusive; for `Lock.upgrade`."""
        wait = optional_seconds("wait", wait)
        sent = now()

        def ask() -> Reply:
            nonlocal sent
            sent = now()
            return self._store.upgrade(lock.request_id, wait=wait != 0)

        def give_up(_: Reply) -> Reply:
            return self._store.withdraw(lock.request_id)

        try:
            reply = wait_for_grant(ask, give_up, lock.request_id, wait, self._doorbell)
        except BaseException:
            self._quietly(lambda: self._store.withdraw(lock.request_id))
            raise
        if reply.status is Status.CONFLICT:
            raise UpgradeConflict(f"another sharer of {', '.join(lock.names)} upgrades already; release first")
        self._raise_unless_granted(reply, lock.names, waited=wait != 0)
        lock.granted(reply, sent)

    def downgrade(self, lock: Lock) -> None:
        """Make a lock shared; for `Lock.downgrade`."""
        sent = now()
        reply = self._store.downgrade(lock.request_id)
        self._raise_unless_granted(reply, lock.names)
        lock.granted(reply, sent)

    def hand_on(self, lock: Lock, within: float) -> str:
        """Put a lock under an id that whoever adopts it will know; for `Lock.transfer`."""
        successor = self._request(
            {}, wait=False, lease=within, purpose=lock.purpose or "handed on, not yet adopted", owner=lock.owner
        )
        self._raise_unless_granted(self._store.transfer(lock.request_id, successor), lock.names)
        self._locks.pop(lock.request_id, None)
        renewer().forget([lock.request_id])
        return successor.id

    def _take(
        self, request: Request, wait: float | None, observed: Sequence[str], on_lost: Callable[[Lock], object] | None
    ) -> Lock:
        """Ask for what `request` wants, keep what is granted, leave nothing behind otherwise."""
        sent = 0.0

        def ask() -> Reply:
            nonlocal sent
            sent = now()
            return self._store.acquire(request)

        def give_up(last: Reply) -> Reply:
            self._store.release(request.id)
            return last

        try:
            seen = self._store.observe(observed) if observed else {}
            lock = Lock(self, request, observed=seen, on_lost=on_lost)
            if not request.wants:
                return lock
            reply = wait_for_grant(ask, give_up, request.id, wait, self._doorbell)
            if reply.status is not Status.GRANTED:
                self._refuse(request, reply)
            return self._keep(lock, reply, sent)
        except ResourceLocked:
            raise
        except BaseException:
            self._undo(request.id)
            raise

    def _refuse(self, request: Request, reply: Reply) -> None:
        if self._doorbell.closed:
            raise LockError("the lock manager was closed while a request waited")
        self._raise_unless_granted(reply, tuple(request.wants), waited=request.wait)

    def _raise_unless_granted(self, reply: Reply, names: Sequence[str], *, waited: bool = False) -> None:
        match reply.status:
            case Status.GRANTED:
                return
            case Status.LOST:
                raise LockLost(f"the lock on {', '.join(names)} is lost: its lease ended, or it was broken or reaped")
            case Status.HELD:
                raise AlreadyHeld(names, reply.holders, reply.waiters)
            case _:
                raise (LockTimeout if waited else ResourceLocked)(names, reply.holders, reply.waiters)

    def _keep(self, lock: Lock, reply: Reply, sent: float) -> Lock:
        lock.granted(reply, sent)
        self._locks[lock.request_id] = lock
        renewer().watch(lock, self._store)
        return lock

    def _undo(self, request_id: str) -> None:
        """Forget a request of which it isn't known how far it came: nobody has a handle to it."""
        self._quietly(lambda: self._store.release(request_id))

    def _quietly(self, undo: Callable[[], object]) -> None:
        """Undo something while another error is on its way, which is the one to tell."""
        try:
            undo()
        except LockError as error:
            log.warning("a request couldn't be taken back, its lease will end it: %s", error)

    def _request(
        self,
        wants: Mapping[str, LockMode],
        *,
        wait: bool,
        lease: float,
        purpose: str,
        owner: str | None = None,
        task: str | None = None,
        priority: int = 0,
        max_hold: float | None = None,
        lock_delay: float = 0.0,
        at_least: int = 0,
    ) -> Request:
        return Request(
            id=f"{self._incarnation}.{next(self._numbers)}",
            wants=wants,
            owner=self.owner if owner is None else text("owner", owner, 200),
            session=f"thread {threading.get_ident()}" if owner is None else "",
            info={
                "host": self._host,
                "pid": self._pid,
                "task": None if task is None else text("task", task),
                "purpose": text("purpose", purpose),
            },
            lease=seconds("lease", lease, positive=True),
            wait=wait,
            priority=whole("priority", priority),
            ageing=self._ageing,
            max_hold=optional_seconds("max_hold", max_hold, positive=True),
            lock_delay=seconds("lock_delay", lock_delay),
            mailbox=self._incarnation,
            at_least=at_least,
        )

    def _mine(self, request: Request) -> Sequence[Lock]:
        """What the asker of `request` holds through this manager."""
        return [
            lock
            for lock in list(self._locks.values())
            if lock.owner == request.owner and lock.session == request.session and not lock.lost
        ]

    def _held_already(self, request: Request) -> Lock | None:
        """A lock of the same asker that covers `request`."""
        strong = (LockMode.EXCLUSIVE,)
        for lock in self._mine(request):
            if all(lock.modes.get(name) in (*strong, mode) for name, mode in request.wants.items()):
                return lock
        return None

    def _check_order(self, request: Request) -> None:
        first = min(request.wants, default="")
        for lock in self._mine(request):
            above = [name for name, mode in lock.modes.items() if mode is not LockMode.OBSERVE and name > first]
            if above and not set(lock.modes) & set(request.wants):
                raise LockOrderError(
                    f"waiting for {first!r} while holding {above[-1]!r} may deadlock with a caller that does the"
                    " reverse: ask for all at once, in ascending order, or with wait=0"
                )

    def _granted(self, grants: Sequence[Grant]) -> None:
        self._doorbell.ring(grant.request for grant in grants if grant.mailbox == self._incarnation)
        if self._on_grants and (homeless := [grant for grant in grants if not grant.mailbox]):
            self._on_grants(homeless)

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            self._store.after_fork()
            self._begin()


def _request_id(value: object) -> str:
    if not text("request_id", value, 80):
        raise InvalidRequest("request_id must not be empty")
    return str(value)
