"""The centre, as subcloud drivers see it: its database, and what was read from there a moment ago."""

import threading
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any, TypeVar, cast

T = TypeVar("T")

Passage = Callable[[], AbstractContextManager[object]]

#: How long a failed read stands, in seconds.
FAILURE_STANDS = 1.0


class Centre:
    """The centre's database, read once for all the subclouds that are worked on at the same time.

    For several threads at once: while one reads, the others wait for what it finds.

    Args:
        url: the database with the centre's identity rows and keys.
        ttl: for how long what was read is used again, in seconds. Defaults to 0: it is read each time.
        passage: what each read passes through, a gate that bounds the load on the centre. Defaults to none.
    """

    def __init__(self, url: str, ttl: float = 0.0, passage: Passage = nullcontext) -> None:
        self.url = url
        self._ttl = ttl
        self._passage = passage
        self._reading = False
        self._failed: dict[Hashable, tuple[float, Exception]] = {}
        self._lock = threading.RLock()  # what one read finds may rest on another
        self._known: dict[Hashable, tuple[float, Any]] = {}

    def cached(self, what: Hashable, read: Callable[[], T]) -> T:
        """Return what `read` found a moment ago, else let it read anew.

        What it raises stands for a second, for those who waited meanwhile: they need not all fail on their own.
        """
        with self._lock:
            read_at, found = self._known.get(what, (0.0, None))
            if read_at and monotonic() - read_at < self._ttl:
                return cast("T", found)
            failed_at, failure = self._failed.get(what, (0.0, None))
            if failure is not None and monotonic() - failed_at < min(self._ttl, FAILURE_STANDS):
                raise failure
            return self._read(what, read)

    def _read(self, what: Hashable, read: Callable[[], T]) -> T:
        began = monotonic()
        try:
            found = self._pass_and(read)
        except Exception as error:
            self._failed[what] = (monotonic(), error)
            raise
        self._failed.pop(what, None)
        self._known[what] = (began, found)
        return found

    def _pass_and(self, read: Callable[[], T]) -> T:
        if self._reading:  # one read rests on another, and they count as one
            return read()
        self._reading = True
        try:
            with self._passage():
                return read()
        finally:
            self._reading = False

    def forget(self) -> None:
        """Read everything anew; for whoever changed the centre."""
        with self._lock:
            self._known.clear()
            self._failed.clear()
