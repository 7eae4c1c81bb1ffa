"""Parking: a task whose lock is busy waits outside of every slot, and is put back when the lock is granted to it."""

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from locking import Grant, LockError, LockManager
from tasks.admission import SILENCE
from tasks.transport import Queues

if TYPE_CHECKING:
    from tasks.runtime import Runtime

logger = get_logger(__name__)

OpenQueues = Callable[[], AbstractContextManager[Queues]]

#: What the requests of parked tasks begin with among all requests for locks.
PREFIX = "task:"
#: The longest id of a request.
LONGEST = 80


def ticket_of(task_id: str) -> str:
    """Return the id under which a task's request for locks waits while nobody is in it."""
    ticket = f"{PREFIX}{task_id}"
    return ticket if len(ticket) <= LONGEST else f"{PREFIX}{hashlib.sha256(task_id.encode()).hexdigest()}"


def locks_of_tasks(url: str, queues: OpenQueues, asker: Callable[[], str | None] | None = None) -> LockManager:
    """Return a lock manager that puts tasks back into their queues when locks are granted to them.

    Args:
        url: where the locks are kept.
        queues: opens the queues.
        asker: names the owner for a request that names none. Defaults to the manager.
    """
    recall = Recall(queues)
    recall.locks = locks = LockManager.from_url(url, on_grants=recall, asker=asker)
    return locks


class Recall:
    """Hears which parked tasks were granted their locks, and puts them back; a dead task's lock goes on to the next.

    What cannot be done, because the broker or the locks don't answer, is left to the reconciler.
    """

    def __init__(self, queues: OpenQueues) -> None:
        self.locks: LockManager | None = None
        self._queues = queues
        self._here = threading.local()

    def __call__(self, grants: Sequence[Grant]) -> None:
        """Take in grants; those that come of passing on a lock are worked off by the same call, one after another."""
        pending: deque[Grant] | None = getattr(self._here, "pending", None)
        if pending is not None:
            pending.extend(grants)
            return
        self._here.pending = pending = deque(grants)
        try:
            while pending:
                batch = [grant.task for grant in pending if grant.task and grant.request == ticket_of(grant.task)]
                pending.clear()
                self._put_back(batch)
        except (*SILENCE, OSError) as error:
            logger.warning("tasks that were granted their locks go back later, the broker is silent: %s", error)
        except LockError as error:
            logger.warning("locks of tasks that no longer live are passed on later: %s", error)
        finally:
            self._here.pending = None

    def _put_back(self, task_ids: Sequence[str]) -> None:
        if not task_ids:
            return
        with self._queues() as queues:
            gone = queues.unpark(*task_ids)
        if gone and self.locks is not None:
            forget(self.locks, gone)


def forget(locks: LockManager, task_ids: Iterable[str]) -> None:
    """Take back the requests of tasks that no longer live."""
    for task_id in task_ids:
        locks.cancel(ticket_of(task_id))


def let_go(runtime: "Runtime", task_id: str) -> None:
    """Take back the request of a task that was removed; where the locks don't answer, the reconciler does it."""
    try:
        forget(runtime.locks, [task_id])
    except LockError as error:
        logger.warning("task %s leaves the queue of its lock later: %s", task_id, error)
