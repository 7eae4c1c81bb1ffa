"""What can go wrong with queues."""

import redis

CONNECTION_LOST = (redis.ConnectionError, redis.TimeoutError, OSError)
"""What a call raises when the broker could not be reached; whether it had an effect is unknown."""


class TransportError(Exception):
    """Anything that the transport refuses."""


class UnsupportedKombu(TransportError):
    """The installed kombu is not the minor version that the overrides fit."""


class NoSuchTask(TransportError, LookupError):
    """No task with this id waits (or, where said so, runs)."""


class DeadLettered(TransportError):
    """A task ended as a dead letter: it does not run again unless an operator retries it.

    A worker stores it as the task's result. Its arguments are text, so that it comes back whole from JSON.

    Attributes:
        task_id: the task.
        queue: the queue whose dead letters it is among.
        reason: what happened.
        worker: who had it last.
    """

    def __init__(self, task_id: str, queue: str = "?", reason: str = "?", worker: str = "?") -> None:
        super().__init__(task_id, queue, reason, worker)
        self.task_id, self.queue, self.reason, self.worker = task_id, queue, reason, worker

    def __str__(self) -> str:
        return (
            f"Task {self.task_id} is a dead letter of queue {self.queue}: {self.reason}; its last worker was "
            f"{self.worker}. Retry or drop it once the cause is gone"
        )


class DuplicateTask(TransportError, ValueError):
    """A task with this id lives already: it waits or runs."""


class QueueClosed(TransportError):
    """A queue takes no new tasks, because somebody waits for it to become quiet.

    Args:
        queue: its name.
        mode: what adders shall do: ``block`` (wait) or ``reject`` (give up).
        remaining: for how many seconds at most.
    """

    def __init__(self, queue: str, mode: str, remaining: float) -> None:
        super().__init__(
            f"Queue {queue} takes no new tasks for up to {remaining:.1f} s, because it is being quiesced: "
            "add the task after that, or from a task of the queue itself"
        )
        self.queue, self.mode, self.remaining = queue, mode, remaining


class QueueFull(TransportError):
    """A queue takes no new work, because it holds as much as it may; what running tasks send is taken all the same.

    Args:
        queue: its name.
        bound: which one is reached: ``max_queued`` or ``max_parked``.
        held: how many tasks, or parked ones, there are.
        most: how many there may be.
    """

    def __init__(self, queue: str, bound: str, held: int, most: int) -> None:
        what = "parked tasks" if bound == "max_parked" else "tasks"
        super().__init__(
            f"Queue {queue} takes no new work: it holds {held} {what}, and its {bound} is {most}. Add less at once, or "
            "later; or raise the bound, once you know that its workers keep up"
        )
        self.queue, self.bound, self.held, self.most = queue, bound, held, most


def no_such(task_id: str) -> NoSuchTask:
    """Return the error for a task that is not where it was looked for."""
    return NoSuchTask(f"Task {task_id!r} was not found: it has ended, it runs, or it never was queued here")


def refusal(error: redis.ResponseError) -> Exception:
    """Return what a script's error means; one that no script of ours raised is returned as it is."""
    word, _, rest = str(error).removeprefix("ERR ").partition(" ")
    if word == "DUPLICATE":
        return DuplicateTask(f"Task {rest!r} lives already: wait until it has ended, or choose another id")
    if word == "QUIESCING":
        mode, left, queue = rest.split(" ", 2)
        return QueueClosed(queue, mode, int(left) / 1_000_000)
    if word == "FULL":
        bound, held, most, queue = rest.split(" ", 3)
        return QueueFull(queue, bound, int(held), int(most))
    return error
