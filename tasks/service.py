"""A worker's life: what happens between its start and its end."""

from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from partitioning import initial_sync_queues
from tasks.settings import SINGLE_QUEUES

logger = get_logger(__name__)


class ConsumeConfiguredQueues(bootsteps.Step):
    """Makes a worker that was started without ``-Q`` or ``-X`` consume the groups of queues in its settings.

    The dedicated queues are not consumed from the start: the worker divides them with the other members of their group.
    """

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        queues, settings = worker.app.amqp.queues, worker.app.settings
        if set(queues.consume_from) != set(queues):
            return  # somebody has chosen
        worker.divides_initial_syncs = "initial-sync" in settings.consume
        queues.deselect(initial_sync_queues(settings.initial_sync_queues))
        queues.deselect(set(SINGLE_QUEUES).difference(settings.consume))
        logger.debug("consuming the queues of the groups %s", ", ".join(settings.consume))
