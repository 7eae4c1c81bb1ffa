"""What can keep a task from being added: a queue that is quiesced, a broker that does not answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import TypeVar

import redis
from kombu.exceptions import OperationalError

from tasks import settings
from tasks.errors import BrokerUnreachable
from tasks.transport import QueueClosed

T = TypeVar("T")

#: What a broker, or a result store, that does not answer raises.
SILENCE = (OperationalError, redis.ConnectionError, redis.TimeoutError)

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


@contextmanager
def naming_the_broker() -> Iterator[None]:
    """Say which broker it is that does not answer.

    Raises:
        BrokerUnreachable: it does not.
    """
    try:
        yield
    except Exception as error:
        # Celery wraps the silence of a result store into a RuntimeError.
        silence = error if isinstance(error, SILENCE) else error.__cause__
        if isinstance(silence, SILENCE):
            raise BrokerUnreachable(settings.current().broker_url, silence) from error
        raise
