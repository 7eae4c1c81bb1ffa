"""Lending: what holds a lock that a more urgent task waits for gets that task's priority, as far as it has to queue.

Else an urgent task would wait for a lock whose holder waits for a slot behind everybody: the inversion of priorities,
after Sha, Rajkumar and Lehoczky, "Priority Inheritance Protocols" (1990). A running holder needs no priority; what
queues are the task that was granted or handed the lock but has not started yet, and the children of `TaskManager.map`.
What was lent is not taken back: it is for the one run.
"""

from collections.abc import Iterable, Sequence

from celery.utils.log import get_logger

from locking import Holder, LockManager
from tasks.admission import SILENCE
from tasks.parking import OpenQueues
from tasks.transport import NoSuchTask

logger = get_logger(__name__)

#: So many holders in the way of a task get its priority, and at so many names urgent waiters are looked for.
MOST = 20


def lend(queues: OpenQueues, holders: Iterable[Holder], priority: int) -> None:
    """Give the tasks that hold a lock this priority, where they still wait for a slot with a less urgent one."""
    tasks = list(dict.fromkeys(holder.task for holder in holders if holder.task))
    raise_to(queues, tasks[:MOST], priority)


def raise_to(queues: OpenQueues, task_ids: Iterable[str], priority: int) -> None:
    """Give tasks this priority, where they wait with a less urgent one; a silent broker leaves them theirs."""
    try:
        with queues() as opened:
            for task_id in task_ids:
                try:
                    task = opened.find(task_id)
                    if task.state != "running" and task.priority > priority:
                        opened.change_priority(task_id, priority)
                        logger.info("task %s gets priority %d, which waits for its lock", task_id, priority)
                except NoSuchTask:
                    continue  # it has ended, or started
    except SILENCE as error:
        logger.warning("the priority %d could not be lent: %s", priority, error)


def most_urgent(locks: LockManager, names: Sequence[str], own: int) -> int:
    """Return the priority of the most urgent request that waits for one of the names, or `own` if that is it.

    Costs a read for each name; of more than `MOST` names the first are looked at.
    """
    waiting = (waiter.priority for name in names[:MOST] for waiter in locks.waiters(name)[:1])
    return min((own, *waiting))
