"""Who a manager is in its store: its name, its requests, and what it holds."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count

from locking.clock import now
from locking.errors import (
    AlreadyHeld,
    LockError,
    LockLost,
    LockTimeout,
    ResourceLocked,
    StoreError,
    UpgradeConflict,
    listed,
)
from locking.held import Held
from locking.lock import Lock
from locking.modes import LockMode
from locking.records import Grant
from locking.renewal import renewer
from locking.request import PROVISIONAL, Request, level, optional_seconds, seconds, text
from locking.store import OnGrants, Reply, Status, Store
from locking.stores import open_store
from locking.waiting import Doorbell, wait_for_grant

log = logging.getLogger(__name__)


class Owner:
    """One manager's dealings with its store; behind `LockManager` and `Lock`, which are what users see.

    Args:
        url: The store.
        namespace: Of the deployment, within the store.
        ageing: Seconds that one level of priority is worth, or None.
        on_grants: Hears of grants to waiters without a mailbox.
        asker: Names the owner for a request that names none.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        ageing: float | None,
        on_grants: OnGrants | None,
        asker: Callable[[], str | None] | None = None,
    ) -> None:
        self._asker = asker
        self._ageing = ageing
        self._on_grants = on_grants
        self.store: Store = open_store(url, namespace, self._granted)
        self._begin()
        try:
            self.store.check()
        except BaseException:
            self.store.close()
            raise

    def _begin(self) -> None:
        """Become an owner: at the start, and anew in a forked child."""
        self._pid = os.getpid()
        self._incarnation = secrets.token_hex(8)
        self._host = socket.gethostname()
        self._numbers = count()
        self.held = Held()
        self._doorbell = Doorbell(self.store, self._incarnation)

    @property
    def name(self) -> str:
        """What others see: host, pid and a random part, new with each start and each fork."""
        self.notice_fork()
        return f"{self._host}:{self._pid}:{self._incarnation}"

    def unchanged(self, observed: Mapping[str, int]) -> bool:
        """Whether no exclusive grant came on names since they were observed; for `Lock.validate`."""
        return not observed or self.store.observe(sorted(observed)) == observed

    def give_back(self, lock: Lock) -> bool:
        """Release a lock at the store; for `Lock.release`."""
        self.held.discard(lock)
        renewer().forget([lock.request_id])
        return self._release(lock.request_id, lock.lease)

    def _release(self, request_id: str, lease: float) -> bool:
        """Release at the store; once more when it answers again, if it does not now."""
        try:
            return self.store.release(request_id)
        except StoreError:
            renewer().release_later(request_id, self.store, lease)
            raise

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
            return self.store.upgrade(lock.request_id, wait=wait != 0)

        def give_up(_: Reply) -> Reply:
            return self.store.withdraw(lock.request_id)

        try:
            reply = wait_for_grant(ask, give_up, lock.request_id, wait, self._doorbell)
        except BaseException:
            self._quietly(lambda: self.store.withdraw(lock.request_id))
            raise
        if reply.status is Status.CONFLICT:
            raise UpgradeConflict(f"another sharer of {listed(lock.names)} upgrades already; release first")
        self.raise_unless_granted(reply, lock.names, waited=wait != 0)
        lock.granted(reply, sent)

    def downgrade(self, lock: Lock) -> None:
        """Make a lock shared; for `Lock.downgrade`."""
        sent = now()
        reply = self.store.downgrade(lock.request_id)
        self.raise_unless_granted(reply, lock.names)
        lock.granted(reply, sent)

    def change_priority(self, request_id: str, priority: int) -> bool:
        """Move a waiting request; for `LockManager.change_priority`."""
        return self.store.change_priority(request_id, level(priority), self._ageing)

    def enqueue(self, request: Request, on_lost: Callable[[Lock], object] | None) -> Lock:
        """Ask under a ticket, and keep what is granted; for `LockManager.enqueue`."""
        lock = Lock(self, request, on_lost=on_lost)
        sent = now()
        try:
            reply = self.store.acquire(request)
        except BaseException:
            self.undo(request)
            raise
        self.raise_unless_granted(reply, tuple(request.wants))
        return self.keep(lock, reply, sent)

    def hand_on(self, lock: Lock, within: float, owner: str, task: str | None, purpose: str) -> str:
        """Put a lock under an id that whoever adopts it will know; for `Lock.transfer`."""
        told = purpose or "handed on, not yet adopted"
        asked = self.request({}, wait=False, lease=within, purpose=told, owner=owner, task=task)
        # Other ids can be guessed from a manager's name, which `holders` shows.
        successor = replace(asked, id=f"handed.{secrets.token_urlsafe(24)}")
        try:
            self.raise_unless_granted(self.store.transfer(lock.request_id, successor), lock.names)
        except BaseException:
            self.undo(successor)
            raise
        self.held.discard(lock)
        renewer().forget([lock.request_id])
        return successor.id

    def adopt(self, handle: str, request: Request, on_lost: Callable[[Lock], object] | None) -> Lock:
        """Put a lock that was handed on under the id of `request`; for `LockManager.adopt`."""
        lock = Lock(self, request, on_lost=on_lost)
        sent = now()
        try:
            reply = self.store.transfer(handle, request)
            if reply.status is not Status.GRANTED:
                raise LockLost("the lock handed on was adopted already, or nobody adopted it in time")
        except BaseException:
            self.undo(request)
            raise
        return self.keep(lock, reply, sent)

    def take(
        self, request: Request, wait: float | None, observed: Sequence[str], on_lost: Callable[[Lock], object] | None
    ) -> Lock:
        """Ask for what `request` wants, keep what is granted, leave nothing behind otherwise."""
        started, sent = now(), 0.0
        log.debug("request %s for %d names: %s", request.id, len(request.wants), request.info["purpose"])

        def ask() -> Reply:
            nonlocal sent
            sent = now()
            return self.store.acquire(request)

        def give_up(last: Reply) -> Reply:
            self.store.release(request.id)
            return last

        try:
            seen = self.store.observe(observed) if observed else {}
            lock = Lock(self, request, observed=seen, on_lost=on_lost)
            if not request.wants:
                return lock
            reply = wait_for_grant(ask, give_up, request.id, wait, self._doorbell)
            if reply.status is Status.GRANTED:
                self.keep(lock, reply, sent)
                log.debug("request %s got %r (took %.2f s): %s", request.id, lock, now() - started, lock.purpose)
                return lock
        except BaseException:
            self.undo(request)
            raise
        raise self._refusal(reply, tuple(request.wants), waited=request.wait)

    def raise_unless_granted(self, reply: Reply, names: Sequence[str], *, waited: bool = False) -> None:
        """Turn a refusal into its error."""
        if reply.status is not Status.GRANTED:
            raise self._refusal(reply, names, waited=waited)

    def _refusal(self, reply: Reply, names: Sequence[str], *, waited: bool) -> LockError:
        if self._doorbell.closed:
            return LockError("the lock manager was closed while a request waited")
        if reply.status is Status.LOST:
            return LockLost(f"the lock on {listed(names)} is lost: its lease ended, or it was broken or reaped")
        if reply.status is Status.HELD:
            return AlreadyHeld(names, reply.holders, reply.waiters)
        return (LockTimeout if waited else ResourceLocked)(names, reply.holders, reply.waiters)

    def keep(self, lock: Lock, reply: Reply, sent: float) -> Lock:
        """Hold what was granted to a question sent at `sent`, and have it renewed."""
        lock.granted(reply, sent)
        self.held.add(lock)
        renewer().watch(lock, self.store)
        return lock

    def undo(self, request: Request) -> None:
        """Forget a request of which it isn't known how far it came: nobody has a handle to it."""
        self._quietly(lambda: self._release(request.id, request.lease))

    def _quietly(self, undo: Callable[[], object]) -> None:
        """Undo something while another error is on its way, which is the one to tell."""
        try:
            undo()
        except LockError as error:
            log.warning("a request couldn't be taken back now, its lease will end it at the latest: %s", error)

    def request(
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
        """A request of this owner, its arguments checked."""
        if owner is None and self._asker is not None:
            owner = self._asker()
        return Request(
            id=f"{self._incarnation}.{next(self._numbers)}",
            wants=wants,
            owner=self.name if owner is None else text("owner", owner, 200),
            session=f"thread {threading.get_ident()}" if owner is None else "",
            info={
                "host": self._host,
                "pid": self._pid,
                "task": None if task is None else text("task", task),
                "purpose": text("purpose", purpose),
            },
            lease=seconds("lease", lease, positive=True),
            wait=wait,
            priority=level(priority),
            ageing=self._ageing,
            max_hold=optional_seconds("max_hold", max_hold, positive=True),
            lock_delay=seconds("lock_delay", lock_delay),
            mailbox=self._incarnation,
            at_least=at_least,
        )

    def _granted(self, grants: Sequence[Grant]) -> None:
        if any(grant.mailbox for grant in grants):
            renewer().look_after(self.store, PROVISIONAL)
        self._doorbell.ring(grant.request for grant in grants if grant.mailbox == self._incarnation)
        if self._on_grants and (homeless := [grant for grant in grants if not grant.mailbox]):
            self._on_grants(homeless)

    def notice_fork(self) -> None:
        """Become an owner of one's own in a forked child."""
        if self._pid != os.getpid():
            self.store.after_fork()
            self._begin()

    def close(self) -> None:
        """Release what is held, wake who waits, end threads and connections."""
        self._doorbell.close()
        locks = self.held.all() if self._pid == os.getpid() else []
        try:
            for lock in locks:
                lock.release()
        finally:
            renewer().leave(self.store)
            self.store.close()
