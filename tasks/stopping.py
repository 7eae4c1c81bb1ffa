"""How a worker is asked to stop, and how it hands back what it cannot finish."""

import os
import threading
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.apps import worker as program
from celery.platforms import EX_FAILURE, EX_OK, signals
from celery.utils.log import get_logger
from celery.worker import state

from tasks.admission import SILENCE
from tasks.service import InitHost

if TYPE_CHECKING:
    from tasks.transport.channel import Channel

logger = get_logger(__name__)

#: A dying worker's lease, in seconds: it is dead before that, and then others have its tasks.
LAST_LEASE = 0.5
#: For so many seconds a worker that can end its tasks by itself may try to.
GRACE = 10.0


class StopRequest:
    """Whether the worker was asked to stop, and whether somebody has no patience any more."""

    def __init__(self) -> None:
        self._made = 0
        self.hurried = threading.Event()

    @property
    def made(self) -> bool:
        """True once the worker was asked to stop."""
        return self._made > 0

    @property
    def urgent(self) -> bool:
        """True once it was asked by a second signal."""
        return self.hurried.is_set()

    def make(self) -> None:
        """Ask; asking again changes nothing."""
        self._made = max(self._made, 1)

    def insist(self) -> None:
        """Ask; asking again means at once."""
        self._made += 1
        if self._made > 1:
            self.hurried.set()


class StopSignals(bootsteps.StartStopStep):
    """Boot step of the worker that makes SIGTERM and SIGINT ask for a stop in stages, a second one for a stop at once.

    SIGQUIT stays Celery's: its cold shutdown cancels everything at once.
    """

    requires = (InitHost,)

    def include_if(self, worker: Any) -> bool:
        """True in a worker that is a program, and so has signal handlers; not in one that a test embeds."""
        return bool(worker.use_eventloop) and isinstance(worker, program.Worker)

    def start(self, worker: Any) -> None:
        """Take the place of Celery's handlers."""

        def handle(*_: Any) -> None:
            worker.life.on_signal()
            said = "at once" if worker.life.request.urgent else "and again for at once"
            os.write(2, f"\nworker: stopping, {said}\n".encode())  # a logger might be in the middle of something

        for signal in ("SIGINT",) if os.environ.get("REMAP_SIGTERM") else ("SIGTERM", "SIGINT"):
            signals[signal] = handle


def can_hand_back(pool: Any) -> bool:
    """Tell whether running tasks can be ended without the worker: they have processes of their own."""
    return type(pool).__module__ == "celery.concurrency.prefork"


def hand_back(pool: Any) -> None:
    """Kill the processes of running tasks and end the worker; the broker returns the tasks when it says goodbye."""
    requests = list(state.active_requests)
    for request in requests:
        logger.warning("Task %s[%s] has not ended in time: it goes back into its queue", request.name, request.id)
        request.cancel(pool, signal="KILL", emit_retry=False)
    state.should_terminate = EX_OK  # type: ignore[assignment]  # its stubs know None only


class Undertaker:
    """Sees to it that a worker which is to end does end, whatever its main loop or its tasks are at."""

    def __init__(self, worker: Any, request: StopRequest) -> None:
        self._worker = worker
        self._request = request
        self._expecting = False
        self._ended = threading.Event()
        self.channel: Channel | None = None

    def expect_the_end(self, limit: float) -> None:
        """Wait in a thread until the worker has ended, or else has used up its time."""
        if not self._expecting:
            self._expecting = True
            threading.Thread(target=self._wait, args=(limit,), name="undertaker", daemon=True).start()

    def stand_down(self) -> None:
        """The worker has ended its tasks."""
        self._ended.set()

    def _wait(self, limit: float) -> None:
        self._request.hurried.wait(limit)
        if not self._ended.wait(GRACE if can_hand_back(self._worker.pool) else 0.1):
            self._die()

    def _die(self) -> None:
        """End the process with all that runs in it; its lease ends right after, so that others have its tasks."""
        logger.warning("Tasks have not ended in time: the worker ends with them, and they go back into their queues")
        try:
            if self.channel is not None:
                self.channel.lease = LAST_LEASE
                self.channel.settlements.reconcile()
            self._worker.presence.end()
        except (*SILENCE, OSError) as error:
            logger.warning("The broker did not hear of it, and returns them when the worker's lease ends: %s", error)
        finally:
            os._exit(EX_FAILURE)
