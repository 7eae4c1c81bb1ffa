"""What adding a task does while its queue is quiesced: wait, or give up."""

from collections.abc import Callable
from time import sleep
from typing import TypeVar

from tasks.transport import QueueClosed

T = TypeVar("T")

#: How long, in seconds, an adder waits before it tries again; the gate may open earlier than it said.
PATIENCE = 0.05


def admitted(add: Callable[[], T]) -> T:
    """Return what `add` returns, once the queue takes new tasks.

    It waits for as long as the quiescing lasts, at most until that one's deadline.

    Raises:
        QueueClosed: the queue is quiesced in the mode ``reject``.
    """
    while True:
        try:
            return add()
        except QueueClosed as closed:
            if closed.mode == "reject":
                raise
            sleep(min(closed.remaining, PATIENCE))
