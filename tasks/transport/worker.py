"""What a Celery worker tells its transport: its name, its free slots, and that it lives while its loop is busy."""

import logging
import threading
from typing import TYPE_CHECKING, Any

from celery import Celery, bootsteps
from celery.worker import state
from celery.worker.consumer.tasks import Tasks

from tasks.transport.errors import CONNECTION_LOST
from tasks.transport.flower import show_true_lengths
from tasks.transport.handout import HandoutStep
from tasks.transport.obituary import Obituary
from tasks.transport.request import explain, explain_refusals, explain_requests

if TYPE_CHECKING:
    from tasks.transport.channel import Channel

logger = logging.getLogger(__name__)


MOURNED_EVERY = 1.0
"""Seconds between looks at a prefork pool's processes. billiard looks when one closes its files, which is often before
it can be waited for, and then not before five seconds have passed; so long its slot would be dead."""


class Keeper:
    """A thread that renews the lease while the main loop cannot: inside a solo pool's task, or while draining.

    As long as the loop itself shows signs of life it does nothing.
    """

    def __init__(self, channel: "Channel") -> None:
        self._channel = channel
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue-lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(self._channel.heartbeat / 2):
            if self._channel.closed:
                return
            try:
                self._channel.settlements.keep_alive()
            except CONNECTION_LOST as error:
                logger.warning("The lease could not be renewed, and is tried again: %s", error)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()


class QueueStep(bootsteps.StartStopStep):
    """Boot step of the consumer that makes the transport exact inside a worker.

    Without it a worker runs, too, but it claims by prefetch count, is known to operators by its host and process id
    only, and its solo and threads pools may lose their leases while a task blocks the main loop.
    """

    requires = (Tasks,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        explain_requests(consumer.app)  # before the worker decides how it runs each task
        self._keeper: Keeper | None = None
        self._channel: Channel | None = None
        self._mourning: Any = None

    def start(self, consumer: Any) -> None:
        """Introduce the worker to the channel that its tasks come from."""
        self._end_keeper()
        channel = consumer.task_consumer.channel
        if not hasattr(channel, "claims"):
            return  # the application was pointed at another transport
        self._channel = channel
        channel.consumer.rename(consumer.hostname)
        channel.claims.slots = lambda: free_slots(consumer)
        channel.claims.size = lambda: slots_of(consumer.controller)
        channel.settlements.tell = Obituary(consumer)
        consumer.task_consumer.on_decode_error = refuse_undecodable
        consumer.on_decode_error = refuse_undecodable
        explain_refusals(consumer)
        if blocks_the_loop(consumer.pool):
            self._keeper = Keeper(channel)
        if consumer.hub is not None:
            self._mourning = consumer.hub.call_repeatedly(MOURNED_EVERY, consumer.pool.maintain_pool)

    def stop(self, consumer: Any) -> None:
        """Keep the lease while the pool ends its tasks."""
        if self._mourning is not None:
            self._mourning.cancel()
            self._mourning = None
        draining = state.should_stop is not None or state.should_terminate is not None
        if draining and self._channel is not None and self._keeper is None:
            self._keeper = Keeper(self._channel)

    def shutdown(self, consumer: Any) -> None:
        """The tasks have ended; the channel says goodbye by itself."""
        self._end_keeper()

    def _end_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None


def blocks_the_loop(pool: Any) -> bool:
    """Tell whether a running task stops the worker's main loop, as in a solo pool."""
    return type(pool).__module__ == "celery.concurrency.solo"


def slots_of(controller: Any) -> int:
    """Number of tasks that a worker's pool runs at once; with autoscaling, at most."""
    slots: int = controller.autoscaler.max_concurrency if controller.autoscaler else controller.pool.num_processes
    return slots


def free_slots(consumer: Any) -> int:
    """Number of tasks that the worker's pool could start now."""
    return max(slots_of(consumer.controller) - len(state.reserved_requests), 0)


def refuse_undecodable(message: Any, error: Exception) -> None:
    """Make a message whose body nobody can decode a dead letter; Celery would acknowledge it away."""
    logger.critical(
        "Message %s (%s, %s) is a dead letter, its body cannot be decoded: %r",
        message.delivery_tag, message.content_type, message.content_encoding, error,
    )  # fmt: skip
    explain(message, f"its body cannot be decoded: {error!r}")
    message.reject_log_error(logger, CONNECTION_LOST)


def install(app: Celery) -> None:
    """Make every worker of `app` exact (`QueueStep`) and quick (`HandoutStep`), and Flower's lengths true."""
    app.steps["consumer"].add(QueueStep)
    app.steps["consumer"].add(HandoutStep)
    show_true_lengths(app)
