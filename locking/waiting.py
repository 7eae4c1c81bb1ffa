"""Waiting for a grant: one mailbox thread a manager, one budget a wait."""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from locking.clock import now
from locking.errors import StoreError
from locking.store import Mailbox, Reply, Status, Store

log = logging.getLogger(__name__)

POLL_FIRST, POLL_MOST, POLL_BEHIND = 0.05, 1.0, 2.0  # seconds between questions where a store can't tell
AWAY = 0.5  # seconds between tries to reach a store that went away
IDLE = 30.0  # seconds after which a mailbox that nobody listens to is closed


class Doorbell:
    """Wakes the threads of this process whose requests were granted.

    Args:
        store: Where the requests wait.
        address: The mailbox of this process.
    """

    def __init__(self, store: Store, address: str) -> None:
        self._store = store
        self._address = address
        self._guard = threading.Lock()
        self._bells: dict[str, threading.Event] = {}
        self._mailbox: Mailbox | None = None
        self._thread: threading.Thread | None = None
        self._idle_since = 0.0
        self.deaf = False  # whether the store has to be asked
        self.closed = False

    def ring(self, request_ids: Iterable[str]) -> None:
        """Wake whoever waits here for one of these requests."""
        for request_id in request_ids:
            if bell := self._bells.get(request_id):
                bell.set()

    @contextmanager
    def listening(self, request_id: str) -> Iterator[threading.Event]:
        """A bell for one request; to be hung up before the request is sent, so that no hint is missed."""
        bell = self._bells[request_id] = threading.Event()
        try:
            yield bell
        finally:
            with self._guard:
                del self._bells[request_id]
                self._idle_since = now()

    def open(self) -> bool:
        """Listen to the mailbox; whether that began only now, so that a hint may have been missed.

        Raises:
            StoreError: The store can't be reached.
        """
        with self._guard:
            if self._mailbox or self.deaf or self.closed:
                return False
            self._mailbox = self._store.open_mailbox(self._address)
            if self._mailbox is None:
                self.deaf = True
                return False
            self._thread = threading.Thread(
                target=self._listen, args=(self._mailbox,), name="locking-mailbox", daemon=True
            )
            self._thread.start()
            return True

    def close(self) -> None:
        """Wake everybody who waits, let them leave, and end the thread."""
        with self._guard:
            self.closed = True
            mailbox, self._mailbox = self._mailbox, None
        patience = now() + 5.0
        while self._bells and now() < patience:
            self.ring(list(self._bells))
            time.sleep(0.005)
        if mailbox and self._thread:
            with suppress(StoreError):  # then the thread finds out by itself
                mailbox.wake()
            self._thread.join(5.0)  # it closes its connection

    def _listen(self, mailbox: Mailbox) -> None:
        while self._mailbox is mailbox:
            try:
                self.ring(mailbox.receive(IDLE))
            except StoreError as error:
                self._hang_up(mailbox, error)
            with self._guard:
                if not self._bells and now() - self._idle_since > IDLE and self._mailbox is mailbox:
                    self._mailbox = None
        mailbox.close()

    def _hang_up(self, mailbox: Mailbox, error: StoreError) -> None:
        """Let the waiters ask again: that opens a new mailbox as soon as the store answers."""
        with self._guard:
            if self._mailbox is mailbox:
                self._mailbox = None
                log.warning("the mailbox of waiting locks broke: %s", error)
        self.ring(list(self._bells))


def wait_for_grant(
    ask: Callable[[], Reply],
    give_up: Callable[[Reply], Reply],
    request_id: str,
    wait: float | None,
    doorbell: Doorbell,
) -> Reply:
    """Ask, and while the request stands in the queue wait up to `wait` seconds for its grant; the last answer.

    A request that still waits then is taken out of the queue by `give_up`, whose answer counts.

    The budget is one for the whole wait, however often the waiter wakes or the store is away. A message is only a
    hint: what counts is the answer to asking again, which also happens at the earliest end of a lease in the way.
    """
    if wait == 0:
        return ask()
    deadline = math.inf if wait is None else now() + wait
    poll, most = POLL_FIRST, math.inf
    with doorbell.listening(request_id) as bell:
        reply = ask()
        while reply.status is Status.WAITING and now() < deadline and not doorbell.closed:
            try:
                if reply.missed:
                    most = reply.retry_after  # whoever missed one hint may well miss the next
                if not doorbell.open():
                    bell.wait(max(0.0, min(_pause(reply, poll, deaf=doorbell.deaf), most, deadline - now())))
                    poll = min(poll * 1.5, POLL_MOST)
                bell.clear()
                reply = ask()
            except StoreError as error:
                if now() >= deadline or doorbell.closed:
                    raise
                log.warning("waiting on though the store is away: %s", error)
                time.sleep(min(AWAY, max(0.0, deadline - now())))
        return give_up(reply) if reply.status is Status.WAITING else reply


def _pause(reply: Reply, poll: float, *, deaf: bool) -> float:
    """Seconds until a waiter asks again though nobody woke it."""
    if deaf:
        return min(reply.retry_after, POLL_BEHIND if reply.behind else poll)
    return reply.retry_after * random.uniform(1.0, 1.05) + 0.002  # noqa: S311 - spreads, isn't secret
