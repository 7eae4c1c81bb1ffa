"""Waiting until a queue is quiet: nothing waits in it, and nothing of it runs."""

import math
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Literal, get_args

from celery.utils import uuid

from tasks.app import app
from tasks.errors import InvalidArguments, QueueInactive, QuiesceTimeout
from tasks.pool.broker import reached
from tasks.pool.queues import known
from tasks.settings import ACTIONS_QUEUE
from tasks.transport import Queues, QueueStats

Mode = Literal["block", "reject", "snapshot"]

#: Seconds between two looks at the queue.
POLL = 0.05
#: Ids that are looked up at once.
CHUNK = 1000


def quiesce(queue: str = ACTIONS_QUEUE, timeout: float = 60.0, mode: Mode = "block") -> None:
    """Wait until a queue is quiet.

    Tasks that are deferred, delayed or parked are waited for, too. Meanwhile, running tasks of the queue may add
    their children to it, which are waited for as well. For everybody else the mode decides: in ``block`` whoever
    adds to the queue waits until this call has ended; in ``reject`` adding raises `QueueClosed`; in ``snapshot``
    anybody adds, and only what lived at the call is waited for. Two calls don't disturb one another.

    Args:
        queue: its name. Defaults to ``actions``.
        timeout: for how long to wait, in seconds. Defaults to 60. The queue opens again after it even if this
            process was killed.
        mode: ``block``, ``reject`` or ``snapshot``. Defaults to ``block``.

    Raises:
        QuiesceTimeout: the queue was not quiet in time.
        QueueInactive: the queue is paused, or has no slots, and something waits in it: that would never end.
        UnknownQueue: there is no such queue.
        InvalidArguments: the timeout or the mode is impossible, or this is called from a task of the queue itself.
    """
    _check(queue, timeout, mode)
    deadline = monotonic() + timeout
    with reached() as queues, ExitStack() as cleanup:
        known(queues, queue)
        if mode == "snapshot":
            awaited: Awaited = Snapshot(queues, queue)
        else:
            token = uuid()
            queues.close_gate(queue, token, mode, timeout)
            cleanup.callback(queues.open_gate, queue, token)
            awaited = Awaited(queues, queue)
        while not awaited.ended():
            if monotonic() >= deadline:
                raise QuiesceTimeout(f"queue {queue} was not quiet within {timeout:g} s: {_told(queues.stats(queue))}")
            sleep(POLL)


def _check(queue: str, timeout: float, mode: str) -> None:
    if mode not in get_args(Mode):
        raise InvalidArguments(f"mode {mode!r} is unknown; there are {', '.join(get_args(Mode))}")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise InvalidArguments(f"a timeout of {timeout!r} is not usable: give seconds above 0")
    task = app.current_worker_task
    if task is not None and (task.request.delivery_info or {}).get("routing_key") == queue:
        raise InvalidArguments(f"task {task.name} cannot wait until queue {queue} is quiet: it runs from that queue")


def _waiting(stats: QueueStats) -> int:
    return stats.ready + stats.delayed + stats.parked


def _told(stats: QueueStats) -> str:
    return f"{stats.running} running, {stats.ready} ready, {stats.delayed} delayed, {stats.parked} parked"


class Awaited:
    """Everything in a queue."""

    def __init__(self, queues: Queues, queue: str) -> None:
        self.queues = queues
        self.queue = queue

    def ended(self) -> bool:
        """Tell whether all has ended.

        Raises:
            QueueInactive: it never will.
        """
        stats = self.queues.stats(self.queue)
        if self.waits(stats) and (stats.pauses or stats.slots == 0):
            why = f"is paused ({', '.join(stats.pauses)})" if stats.pauses else "has 0 slots"
            raise QueueInactive(
                f"queue {self.queue} {why} and would never be quiet: {_told(stats)}; resume or resize it first"
            )
        return not (stats.running or self.waits(stats))

    def waits(self, stats: QueueStats) -> bool:
        """Tell whether something of it waits."""
        return _waiting(stats) > 0


class Snapshot(Awaited):
    """The tasks that lived in a queue at one moment."""

    def __init__(self, queues: Queues, queue: str) -> None:
        super().__init__(queues, queue)
        self._ids = queues.ids(queue)

    def ended(self) -> bool:
        """Tell whether all of them have ended.

        Raises:
            QueueInactive: they never will.
        """
        while self._ids:
            living = self.queues.living(self.queue, self._ids[-CHUNK:])
            self._ids[-CHUNK:] = living
            if living:
                break
        return not self._ids or super().ended()

    def waits(self, stats: QueueStats) -> bool:
        """Tell whether something of it waits: more live than run."""
        if not (stats.pauses or stats.slots == 0):
            return True
        chunks = [self._ids[first : first + CHUNK] for first in range(0, len(self._ids), CHUNK)]
        self._ids = [task_id for chunk in chunks for task_id in self.queues.living(self.queue, chunk)]
        return len(self._ids) > stats.running
