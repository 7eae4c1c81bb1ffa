"""The verbs for dead letters: tasks that will not be tried again by themselves."""

from tasks.pool.broker import reached
from tasks.pool.ending import record_end
from tasks.pool.queues import known
from tasks.settings import ACTIONS_QUEUE
from tasks.transport import DeadLetter, NoSuchTask, Queues


def dead_letters(queue: str | None = ACTIONS_QUEUE) -> list[DeadLetter]:
    """List the dead letters of a queue, the oldest first: each with its reason, time and last worker.

    Args:
        queue: its name; None for all queues. Defaults to ``actions``.

    Raises:
        UnknownQueue: there is no such queue.
    """
    with reached() as queues:
        names = queues.names() if queue is None else [known(queues, queue)]
        return [letter for name in names for letter in queues.dead_letters(name)]


def retry_dead(task_id: str) -> None:
    """Put a dead letter back into its queue, as a new arrival with its old priority and all its tries.

    Raises:
        NoSuchTask: there is no such dead letter.
    """
    with reached() as queues:
        queues.retry_dead(str(task_id))


def drop_dead(task_id: str) -> None:
    """Delete a dead letter; its result becomes REVOKED.

    Raises:
        NoSuchTask: there is no such dead letter.
    """
    with reached() as queues:
        letter = _letter(queues, str(task_id))
        queues.drop_dead(letter.id)
    record_end(letter, f"dropped as a dead letter: {letter.reason}")


def _letter(queues: Queues, task_id: str) -> DeadLetter:
    for name in queues.names():
        for letter in queues.dead_letters(name):
            if letter.id == task_id:
                return letter
    raise NoSuchTask(f"Dead letter {task_id!r} was not found: it was retried or dropped before, or never was")
