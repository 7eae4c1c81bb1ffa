"""What can go wrong with queues."""

import redis


class TransportError(Exception):
    """Anything that the transport refuses."""


class UnsupportedKombu(TransportError):
    """The installed kombu is not the minor version that the overrides fit."""


class NoSuchTask(TransportError, LookupError):
    """No task with this id waits (or, where said so, runs)."""


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


def refusal(error: redis.ResponseError) -> Exception:
    """Return what a script's error means; one that no script of ours raised is returned as it is."""
    word, _, rest = str(error).removeprefix("ERR ").partition(" ")
    if word == "DUPLICATE":
        return DuplicateTask(f"Task {rest!r} lives already: wait until it has ended, or choose another id")
    if word == "QUIESCING":
        mode, left, queue = rest.split(" ", 2)
        return QueueClosed(queue, mode, int(left) / 1_000_000)
    return error
