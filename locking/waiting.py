"""Waiting for a grant: one mailbox thread a manager, one budget a wait."""

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from locking.clock import now
from locking.errors import StoreError
from locking.store import Mailbox, Reply, Status, Store

log = logging.getLogger(__name__)

POLL_FIRST, POLL_MOST, POLL_BEHIND = 0.05, 1.0, 2.0  # seconds between questions where a store can't tell
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
    def listening(self, request_id: str) -> Iterator[tuple[threading.Event, bool]]:
        """A bell for one request, and whether the mailbox was opened just now, so that a hint may have been missed."""
        bell = self._bells[request_id] = threading.Event()
        try:
            yield bell, self._open()
        finally:
            with self._guard:
                del self._bells[request_id]
                self._idle_since = now()

    def close(self) -> None:
        """End the thread and wake everybody who waits."""
        with self._guard:
            self.closed = True
            mailbox, self._mailbox = self._mailbox, None
        self.ring(list(self._bells))
        if mailbox and self._thread:
            with suppress(StoreError):  # then the thread finds out by itself
                mailbox.wake()
            self._thread.join(1.0)

    def _open(self) -> bool:
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
    ask: Callable[[], Reply], reply: Reply, request_id: str, wait: float | None, doorbell: Doorbell
) -> Reply:
    """Wait until a request in the queue is granted or `wait` seconds are over; the last answer.

    The budget is one for the whole wait, however often the waiter wakes. A message is only a hint: what counts is the
    answer to asking again, which also happens at the earliest end of a lease in the way.
    """
    deadline = None if wait is None else now() + wait
    poll = POLL_FIRST
    while reply.status is Status.WAITING and not doorbell.closed:
        with doorbell.listening(request_id) as (bell, missed):
            if not missed:
                pause = reply.retry_after * random.uniform(1.0, 1.05) + 0.002  # noqa: S311 - spreads, isn't secret
                if doorbell.deaf:
                    pause = min(pause, POLL_BEHIND if reply.behind else poll)
                    poll = min(poll * 1.5, POLL_MOST)
                bell.wait(pause if deadline is None else max(0.0, min(pause, deadline - now())))
            reply = ask()
        if deadline is not None and now() >= deadline:
            break
    return reply
