"""Locks of dead runs: freed as soon as it is known that nobody is left in them, not when their lease ends."""

import threading
import time
from collections.abc import Sequence
from logging import DEBUG, WARNING
from queue import SimpleQueue
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined] # missing in its stubs
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import bootsteps
from celery.utils.log import get_logger

from locking import LockError, LockManager
from tasks.holders import holder, holder_of
from tasks.parking import OpenQueues, locks_of_tasks
from tasks.transport.request import ExplainedRequest
from tasks.transport.worker import QueueStep

logger = get_logger(__name__)

#: For so many seconds the main loop waits for locks to be freed, so that who runs next finds them free.
PATIENCE = 0.5
#: Seconds after which a silent store of locks is asked again.
AGAIN = 1.0
#: Seconds between looks for processes of the pool that have died.
LOOK_EVERY = 0.5


class Reaper:
    """Frees locks in a thread of its own, because their store may be slow to answer, or not answer at all.

    Args:
        lock_url: the store.
        lease: of its locks, in seconds; after that long they are free without anybody's doing.
        queues: opens the queues, where parked tasks go back that get a lock by this.
    """

    def __init__(self, lock_url: str, lease: float, queues: OpenQueues) -> None:
        self._url = lock_url
        self._queues = queues
        self._lease = lease
        self._work: SimpleQueue[tuple[Sequence[str], float, threading.Event]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._locks: LockManager | None = None

    def reap(self, owners: Sequence[str]) -> None:
        """Free all that these owners hold, and end their waits; returns when that is done, or after a moment."""
        if not owners:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lock-reaper", daemon=True)
            self._thread.start()
        done = threading.Event()
        self._work.put((owners, time.monotonic() + self._lease, done))
        done.wait(PATIENCE)

    def _run(self) -> None:
        while True:
            owners, until, done = self._work.get()
            while time.monotonic() < until and not self._reaped(owners):
                time.sleep(AGAIN)
            done.set()

    def _reaped(self, owners: Sequence[str]) -> bool:
        try:
            if self._locks is None:
                self._locks = locks_of_tasks(self._url, self._queues)  # what is freed may go to a parked task
            for owner in owners:
                if count := self._locks.reap(owner):
                    logger.warning("Freed %d locks of %s, which is dead", count, owner)
        except LockError as error:
            logger.warning("Locks of dead runs cannot be freed now; it is tried until their leases end: %s", error)
            return False
        return True


class ReapLocks(bootsteps.StartStopStep):
    """Boot step of the consumer that frees the locks of dead workers' runs, and of its own pool's dead processes."""

    requires = (QueueStep,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        settings = consumer.app.settings
        self._reaper = Reaper(settings.lock_url, settings.lock_lease, consumer.app.queues)
        #: Who runs in each process of the pool.
        self._runs: dict[object, str] = {}
        request = _accounted(self._runs)
        for task in consumer.app.tasks.values():
            if task.Request is ExplainedRequest:
                task.Request = request

    def start(self, consumer: Any) -> None:
        """Hear of dead workers, on a new connection to the broker."""
        channel = consumer.task_consumer.channel
        if hasattr(channel, "settlements"):
            channel.settlements.on_died = self._worker_died

    def _worker_died(self, consumer: str, task_ids: Sequence[str]) -> None:
        logger.log(
            WARNING if task_ids else DEBUG,  # anybody who has read a queue once is a consumer, Flower for one
            "Worker %s gave no sign for longer than its lease, so its %d tasks go to others",
            consumer,
            len(task_ids),
        )
        self._reaper.reap([holder(consumer, task_id) for task_id in task_ids])

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """Hear of dead processes of the pool, anew with each connection, as the pool does."""
        pool: Any = getattr(consumer.pool, "_pool", None)
        tidy_up = getattr(pool, "on_process_down", None)
        if tidy_up is None:
            return  # no processes

        def on_process_down(process: Any) -> None:
            tidy_up(process)
            run = self._runs.pop(process.pid, None)
            if run is not None:
                self._reaper.reap([run])

        pool.on_process_down = on_process_down
        # a pool that is told of an end looks too early, before the process is a zombie, and again after 5 s only
        hub.call_repeatedly(LOOK_EVERY, pool.maintain_pool)

    def shutdown(self, consumer: Any) -> None:
        """The pool has ended: what it did not finish holds nothing any more."""
        channel = getattr(consumer.task_consumer, "channel", None)
        identity = getattr(channel, "identity", None)
        if identity is not None:
            self._reaper.reap([holder(identity.id, held.task_id) for held in list(identity.held.values())])


def _accounted(runs: dict[object, str]) -> type[ExplainedRequest]:
    """Return the class of requests that keep account in `runs` of which process they are in."""

    class AccountedRequest(ExplainedRequest):
        """A request that writes down its process for as long as it may be in there."""

        @property
        def _owner(self) -> str | None:
            return holder_of(str(self.message.delivery_tag), str(self.id))

        def on_accepted(self, pid: Any, time_accepted: float) -> Any:
            """It begins in this process."""
            if self._owner is not None:
                runs[pid] = self._owner
            return super().on_accepted(pid, time_accepted)

        def on_success(self, *args: Any, **kwargs: Any) -> Any:
            """It has ended."""
            self._has_ended()
            return super().on_success(*args, **kwargs)

        def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            """It has ended by itself, unless this says that its process has, or is about to."""
            error = exc_info.exception
            if isinstance(error, ExceptionWithTraceback):
                error = error.exc
            if not isinstance(error, Terminated | TimeLimitExceeded | WorkerLostError):
                self._has_ended()
            return super().on_failure(exc_info, *args, **kwargs)

        def _has_ended(self) -> None:
            pid = self.worker_pid
            if pid is not None and runs.get(pid) == self._owner:
                del runs[pid]

    return AccountedRequest
