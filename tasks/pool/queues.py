"""The verbs for a whole queue: look at it, pause it, size it."""

import difflib

from tasks.app import app
from tasks.errors import InvalidArguments, UnknownQueue
from tasks.pool.broker import reached
from tasks.settings import ACTIONS_QUEUE
from tasks.transport import Queues, QueueStats


def known(queues: Queues, queue: str) -> str:
    """Return the name of a queue that is configured or was ever used.

    Raises:
        UnknownQueue: nobody ever declared it, so it is most likely misspelt.
    """
    names = {*app.amqp.queues, *queues.names()}
    if queue in names:
        return queue
    near = difflib.get_close_matches(str(queue), names, n=1)
    raise UnknownQueue(
        f"queue {queue!r} is unknown; "
        + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(names))}")
    )


def stats(queue: str = ACTIONS_QUEUE) -> QueueStats:
    """Return what a queue holds: depth per priority, oldest age (seconds), running, parked, delayed, dead, pauses.

    Args:
        queue: its name. Defaults to ``actions``.

    Raises:
        UnknownQueue: there is no such queue.
    """
    with reached() as queues:
        return queues.stats(known(queues, queue))


def has_running_tasks(queue: str = ACTIONS_QUEUE) -> bool:
    """Tell whether any worker, on whatever machine, runs a task of a queue.

    Args:
        queue: its name. Defaults to ``actions``.

    Raises:
        UnknownQueue: there is no such queue.
    """
    return stats(queue).running > 0


def pause(queue: str = ACTIONS_QUEUE, reason: str = "manual") -> None:
    """Start nothing more of a queue, in any worker; what runs goes on, and tasks may still be added.

    Args:
        queue: its name. Defaults to ``actions``.
        reason: who or what for; the queue rests until each reason was taken back. Pausing twice for one reason is
            pausing once. Defaults to ``manual``.

    Raises:
        UnknownQueue: there is no such queue.
        InvalidArguments: the reason is empty.
    """
    with reached() as queues:
        queues.pause(known(queues, queue), _named(reason))


def resume(queue: str = ACTIONS_QUEUE, reason: str = "manual") -> bool:
    """Take back one reason for a pause; one that is not there is no error.

    Args:
        queue: its name. Defaults to ``actions``.
        reason: as it was given to `pause`. Defaults to ``manual``.

    Returns:
        Whether the queue runs now: False while other reasons are left.

    Raises:
        UnknownQueue: there is no such queue.
        InvalidArguments: the reason is empty.
    """
    with reached() as queues:
        return queues.resume(known(queues, queue), _named(reason))


def _named(reason: str) -> str:
    if not isinstance(reason, str) or not reason:
        raise InvalidArguments(f"a reason for a pause is a text that isn't empty, got {reason!r}")
    return reason


def bound(queue: str, max_queued: int | None = None, max_parked: int | None = None) -> None:
    """Let a queue refuse new work (`QueueFull`) while it holds so much; kept in the broker, for all who add.

    What was accepted is never refused: retries, deferrals, parked tasks that go back, and what running tasks send.

    Args:
        queue: its name.
        max_queued: how many tasks may wait or run; 0 for any number. Defaults to None: the setting of whoever adds.
        max_parked: how many of them may be parked; 0 for any number. Defaults to None, as above.

    Raises:
        UnknownQueue: there is no such queue.
        InvalidArguments: a bound is no number from 0.
    """
    for most in (max_queued, max_parked):
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
            raise InvalidArguments(f"a bound of {most!r} is not possible: give a whole number from 0, or None")
    with reached() as queues:
        queues.bound(known(queues, queue), max_queued, max_parked)


def resize(queue: str, slots: int | None) -> None:
    """Let at most so many tasks of a queue run at once, counted over all workers, also those that start later.

    The broker keeps the number and hands out no task beyond it, whatever the pools of the workers are. A smaller
    number interrupts nothing: what runs goes on, and nothing starts until fewer run. At 0 running tasks are asked
    to end (`should_terminate`), and waiting ones wait for a larger number. For a number that the workers cannot fill
    together, each of them grows to its even share, at most to the setting ``max_slots``, and shrinks when it is taken
    back.

    Args:
        queue: its name.
        slots: from 0; None takes the limit away.

    Raises:
        UnknownQueue: there is no such queue.
        InvalidArguments: slots is no number from 0.
    """
    if slots is not None and (isinstance(slots, bool) or not isinstance(slots, int) or slots < 0):
        raise InvalidArguments(f"{slots!r} slots are not possible: give a whole number from 0, or None for no limit")
    with reached() as queues:
        queues.limit(known(queues, queue), slots)
