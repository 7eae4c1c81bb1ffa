"""The verbs for single tasks that live: find them, re-prioritise them, cancel them."""

from typing import get_args

from tasks.app import app
from tasks.errors import InvalidArguments
from tasks.lending import lend
from tasks.parking import let_go, ticket_of
from tasks.pool.broker import reached
from tasks.pool.ending import record_end
from tasks.pool.queues import known
from tasks.priority import validated
from tasks.transport import ListedTask, State


def find(task_id: str) -> ListedTask:
    """Return a living task: where it is, with which priority, since when.

    Raises:
        NoSuchTask: no task with this id waits or runs.
    """
    with reached() as queues:
        return queues.find(str(task_id))


def list_(queue: str | None = None, state: State | None = None, limit: int = 100) -> list[ListedTask]:
    """List living tasks: of each queue the ready ones in the order of their start, then running, delayed, parked.

    Args:
        queue: only of this queue. Defaults to all.
        state: only ``ready``, ``running``, ``delayed`` or ``parked`` ones. Defaults to all.
        limit: how many of a queue and a state at most. Defaults to 100.

    Raises:
        UnknownQueue: there is no such queue.
        InvalidArguments: there is no such state.
    """
    if state is not None and state not in get_args(State):
        raise InvalidArguments(f"state {state!r} is unknown; there are {', '.join(get_args(State))}")
    with reached() as queues:
        names = queues.names() if queue is None else [known(queues, queue)]
        found = [task for name in names for task in queues.tasks(name, limit)]
    return [task for task in found if state in {None, task.state}]


def change_priority(task_id: str, priority: int) -> State:
    """Give a waiting task another priority: it starts as if it had been added with it when it was added.

    Args:
        task_id: a ready, delayed or parked task.
        priority: any integer, the lower goes first.

    Returns:
        Where the task waits: ``ready``, ``delayed`` or ``parked``.

    Raises:
        NoSuchTask: no such task waits; it runs, has ended, or never was.
        InvalidPriority: the priority is not an integer.
    """
    level = validated(str(task_id), priority)
    with reached() as queues:
        state = queues.change_priority(str(task_id), level)
    if state == "parked":
        app.runtime.locks.change_priority(ticket_of(str(task_id)), level)
        _lend_to_holders(str(task_id), level)
    return state


def _lend_to_holders(task_id: str, level: int) -> None:
    """Look through all locks, which a change of priority by hand may cost, for who holds what a parked task wants."""
    for lock in app.runtime.locks.list():
        if any(waiter.task == task_id for waiter in lock.waiters):
            lend(app.queues, lock.holders, level)


def cancel(task_id: str) -> State:
    """Cancel a task: a waiting one never starts, a running one is asked to end.

    A waiting task is removed at once, and its result becomes REVOKED, which ends each ``AsyncResult.get()``. In a
    running task ``should_terminate()`` turns true; if its worker dies, it doesn't run again, and becomes REVOKED.

    Returns:
        Where the task was: ``ready``, ``delayed``, ``parked`` or ``running``.

    Raises:
        NoSuchTask: no task with this id waits or runs.
    """
    with reached() as queues:
        task = queues.find(str(task_id))
        state = queues.cancel(task.id)
    if state != "running":
        record_end(task, "cancelled")
    if state in {"parked", "ready"}:  # a ready one may have been put back with its lock granted
        let_go(app.runtime, task.id)
    return state
