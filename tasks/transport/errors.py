"""What can go wrong with queues."""


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
