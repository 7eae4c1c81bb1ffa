"""One thread a process that renews every lock held in it, in batches, and sees to what the process set going."""

import logging
import math
import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from locking.clock import now
from locking.errors import StoreError
from locking.lock import Lock
from locking.store import Store

log = logging.getLogger(__name__)

BATCH = 100  # locks renewed in one trip
_ROUNDING = 0.002  # seconds by which a store's answer may differ from the lease
_LATE = "its lease ended before it was renewed"


def _given_up() -> None:
    """The handle of a lock that nobody wants any more."""


@dataclass(slots=True)
class _Watched:
    """A lock under renewal. Its handle is held weakly: a lock that nobody can reach any more is released."""

    handle: Callable[[], Lock | None]
    store: Store
    lease: float
    due: float
    if_late: str = _LATE  # why the lock is lost if its local count runs out
    ends: float = math.inf  # when its lease has ended at the latest, if nobody wants it any more

    def cap(self, lock: Lock) -> None:
        """See to `lock` when its time is over at the latest: no renewal moves that any more."""
        self.due = min(now() + self.lease / 3, now() + lock.remaining())
        self.if_late = "its max_hold is over"

    def renewed(self, lock: Lock, sent: float, left: float) -> None:
        """Know when to renew next, after the store gave `left` seconds: less than the lease only at the end."""
        self.due, self.if_late = sent + self.lease / 3, _LATE
        if left < self.lease - _ROUNDING:
            self.cap(lock)


class Renewer:
    """Renews locks at a third of their lease, for as long as somebody holds their handles.

    It also looks after the grants that this process made to waiters: if one isn't confirmed, the next has its turn.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._changed = threading.Condition()
        self._in_flight = threading.Lock()
        self._watched: dict[str, _Watched] = {}
        self._tended: dict[
            Store, tuple[float, float]
        ] = {}  # when to tend it, and when the last grant has to be confirmed
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    def watch(self, lock: Lock, store: Store) -> None:
        """Renew `lock` from now on."""
        watched = _Watched(weakref.ref(lock), store, lock.lease, now() + lock.remaining() / 3)
        if lock.max_hold is not None and lock.max_hold <= lock.lease:
            watched.cap(lock)
        with self._changed:
            self._watched[lock.request_id] = watched
            self._run_until(watched.due)

    def look_after(self, store: Store, seconds: float) -> None:
        """Tend a store in `seconds`, when a grant to a waiter has to be confirmed; once in as long for many grants."""
        last = now() + seconds
        with self._changed:
            first = self._tended.get(store, (last, last))[0]
            self._tended[store] = (first, last)
            self._run_until(first)

    def release_later(self, request_id: str, store: Store, lease: float) -> None:
        """Release what the store could not be told of, as soon as it answers, or until the lease has ended anyhow."""
        watched = _Watched(_given_up, store, lease, now() + _pause(lease), ends=now() + lease)
        with self._changed:
            self._watched[request_id] = watched
            self._run_until(watched.due)

    def forget(self, request_ids: Iterable[str]) -> None:
        """Stop renewing."""
        with self._changed:
            for request_id in request_ids:
                self._watched.pop(request_id, None)

    def leave(self, store: Store) -> None:
        """Have nothing more to do with a store that is about to close; ends the thread if that was all."""
        with self._in_flight, self._changed:
            for request_id in [key for key, watched in self._watched.items() if watched.store is store]:
                del self._watched[request_id]
            self._tended.pop(store, None)
            self._changed.notify()

    def check(self) -> None:
        """Start the thread anew if it died."""
        with self._changed:
            if self._watched or self._tended:
                self._run_until(self._next())

    def _next(self) -> float:
        return min([watched.due for watched in self._watched.values()] + [first for first, _ in self._tended.values()])

    def _run_until(self, due: float) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._wakes_at = due
            self._thread = threading.Thread(target=self._run, name="locking-renewal", daemon=True)
            self._thread.start()
        elif due < self._wakes_at:
            self._wakes_at = due
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._watched and not self._tended:
                    self._thread = None
                    return
                self._wakes_at = self._next()
                self._changed.wait(max(0.0, self._wakes_at - now()))
            due: dict[Store, dict[str, _Watched]] = {}
            try:
                with self._in_flight:
                    due = self._due()
                    self._renew(due)
                    self._tend()
            except Exception:
                log.exception("renewal of locks failed in an unforeseen way; it goes on")
                self._postpone(request_id for batch in due.values() for request_id in batch)

    def _due(self) -> dict[Store, dict[str, _Watched]]:
        """What is due, or soon will be, so that it rides along."""
        due: dict[Store, dict[str, _Watched]] = defaultdict(dict)
        with self._changed:
            self._watched = {key: watched for key, watched in self._watched.items() if watched.ends > now()}
            for request_id, watched in self._watched.items():
                if watched.due - watched.lease / 10 <= now():
                    due[watched.store][request_id] = watched
        return due

    def _tend(self) -> None:
        with self._changed:
            due = {store: last for store, (first, last) in self._tended.items() if first <= now()}
            for store, last in due.items():
                del self._tended[store]
                if last > now():
                    self._tended[store] = (last, last)
        for store in due:
            try:
                store.tend()
            except StoreError as error:
                log.warning("nobody saw to it whether grants were confirmed: %s", error)

    def _renew(self, due: dict[Store, dict[str, _Watched]]) -> None:
        for store, batch in due.items():
            ids = list(batch)
            for start in range(0, len(ids), BATCH):
                self._renew_batch(store, {request_id: batch[request_id] for request_id in ids[start : start + BATCH]})

    def _renew_batch(self, store: Store, batch: dict[str, _Watched]) -> None:
        locks = {request_id: watched.handle() for request_id, watched in batch.items()}
        abandoned = [request_id for request_id, lock in locks.items() if lock is None]
        held = {request_id: lock for request_id, lock in locks.items() if lock is not None}
        held = self._without_late(held, batch)
        sent = now()
        try:
            for request_id in abandoned:
                if batch[request_id].handle is not _given_up:
                    log.warning("lock %s was dropped without release; releasing it", request_id)
                store.release(request_id)
            self.forget(abandoned)
            left = store.renew(list(held)) if held else ()
        except StoreError as error:
            self._survive(error, held, batch)
            return
        for (request_id, lock), seconds in zip(held.items(), left, strict=True):
            if seconds > 0:
                lock.renewed(sent, seconds)
                batch[request_id].renewed(lock, sent, seconds)
            else:
                self._lose(lock, "its lease ended, or it was broken or reaped")

    def _survive(self, error: StoreError, held: dict[str, Lock], batch: dict[str, _Watched]) -> None:
        """Try again soon, within the lease; what has no lease left is lost."""
        log.warning("locks can't be renewed now: %s", error)
        for watched in batch.values():
            watched.if_late = f"it couldn't be renewed: {error}"
        self._postpone(batch)
        self._without_late(held, batch)

    def _without_late(self, held: dict[str, Lock], batch: dict[str, _Watched]) -> dict[str, Lock]:
        """The locks whose local count still runs. The others are lost for good: what was said once isn't taken back."""
        late = [request_id for request_id, lock in held.items() if lock.lost]
        for request_id in late:
            self._lose(held[request_id], batch[request_id].if_late)
        return {request_id: lock for request_id, lock in held.items() if request_id not in late}

    def _postpone(self, request_ids: Iterable[str]) -> None:
        with self._changed:
            for request_id in request_ids:
                if watched := self._watched.get(request_id):
                    lock = watched.handle()
                    left = lock.remaining() if lock else 0.0
                    watched.due = now() + min(_pause(watched.lease), left or math.inf)

    def _lose(self, lock: Lock, why: str) -> None:
        self.forget([lock.request_id])
        lock.lose(why)


def _pause(lease: float) -> float:
    """Seconds before a store that did not answer is asked again."""
    return min(1.0, lease / 10)


_renewer = Renewer()


def renewer() -> Renewer:
    """The renewer of this process; a forked child gets its own, and renews nothing of its parent."""
    global _renewer  # noqa: PLW0603 - one thread a process is the point
    if _renewer.pid != os.getpid():
        _renewer = Renewer()
    return _renewer
