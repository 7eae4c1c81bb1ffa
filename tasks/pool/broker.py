"""How the verbs reach the queues."""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.admission import naming_the_broker
from tasks.app import app
from tasks.transport import Queues


@contextmanager
def reached() -> Iterator[Queues]:
    """Yield the queues, on a connection of this process's pool.

    Raises:
        BrokerUnreachable: the broker does not answer.
    """
    with naming_the_broker(), app.queues() as queues:
        yield queues
