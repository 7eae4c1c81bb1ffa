"""Runs the calls of one driver in a thread of their own, which can be left behind when a call hangs."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from time import monotonic
from typing import Any, ClassVar, TypeVar

from celery.utils.log import get_task_logger

from tasks.drivers import SubcloudDriver
from tasks.initial_sync.failures import TooManyHang

logger = get_task_logger(__name__)

T = TypeVar("T")

#: How long the end of a run waits for the driver to close, in seconds.
CLOSING = 5.0


#: While so many calls hang in a process, it begins none to a subcloud that failed before; each keeps a thread.
HANGING_AT_MOST = 64
#: While so many do, it begins none at all.
HANGING_AT_THE_VERY_MOST = 4 * HANGING_AT_MOST


class Abandoned(Exception):
    """A driver that was left behind tried to change its subcloud."""


class StepThread:
    """Calls a driver with a limit of time, whatever the pool of the worker.

    No call can be stopped from outside in Python. One that takes too long is left behind: its driver's guard calls
    `check`, which raises from then on, so that it changes nothing more; the thread ends when the call does. Of those
    whose call never ends there is a limit for each process.

    Args:
        name: The thread's name.
    """

    _left_behind: ClassVar[weakref.WeakSet[threading.Thread]] = weakref.WeakSet()

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._abandoned = False
        self._driver: SubcloudDriver | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @classmethod
    def hanging(cls) -> int:
        """How many threads were left behind in this process, and still hang."""
        return sum(thread.is_alive() for thread in list(cls._left_behind))

    def check(self) -> None:
        """Raise Abandoned when the calls were left behind."""
        if self._abandoned:
            raise Abandoned(self._thread.name)

    def open(self, make: Callable[[], SubcloudDriver], *, suspect: bool = False) -> SubcloudDriver:
        """Make the driver, which the thread closes at its end.

        Args:
            make: makes it.
            suspect: whether its subcloud failed before. Defaults to no.

        Raises:
            TooManyHang: too many were left behind in this process, and still hang.
        """
        if (hanging := self.hanging()) >= (HANGING_AT_MOST if suspect else HANGING_AT_THE_VERY_MOST):
            raise TooManyHang(hanging)
        self._driver = make()
        return self._driver

    def call(
        self, function: Callable[[], T], *, timeout: float, overdue: Exception, every: float, sign: Callable[[], object]
    ) -> T:
        """Return what the function returns.

        Args:
            function: what to call.
            timeout: how long it may take, in seconds.
            overdue: what is raised when it takes longer.
            every: how often a sign of life is given meanwhile, in seconds.
            sign: gives the sign of life; what it raises ends the waiting, too.
        """
        future: Future[T] = Future()
        self._calls.put((future, function))
        deadline = monotonic() + timeout
        while not wait((future,), timeout=max(0.0, min(every, deadline - monotonic()))).done:
            try:
                if monotonic() >= deadline:
                    raise overdue
                sign()
            except BaseException:
                self._leave_behind()
                raise
        return future.result()

    def _leave_behind(self) -> None:
        self._abandoned = True
        self._left_behind.add(self._thread)
        logger.warning(
            "A call of %s is left behind in its thread; %d hang in this process, and with %d it takes no more risks",
            self._thread.name, self.hanging(), HANGING_AT_MOST,
        )  # fmt: skip

    def end(self) -> None:
        """Let the thread close the driver and end; one that was left behind does so when its call returns."""
        self._calls.put(None)
        if not self._abandoned:
            self._thread.join(CLOSING)

    def _work(self) -> None:
        while (asked := self._calls.get()) is not None:
            future, function = asked
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
                future.set_exception(error)
            del future, function, asked
        self._close()

    def _close(self) -> None:
        try:
            if self._driver is not None:
                self._driver.close()
        except Exception:
            logger.exception("the driver of %s could not be closed", self._thread.name)
