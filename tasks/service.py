"""A worker's life: what happens between its start and its end."""

from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from partitioning import initial_sync_queues
from tasks.settings import Settings

logger = get_logger(__name__)


class ConsumeConfiguredQueues(bootsteps.Step):
    """Makes a worker that was started without ``-Q`` consume the groups of queues in its settings."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        if not kwargs.get("queues"):
            names = queues_of(worker.app.settings)
            worker.app.amqp.queues.select(names)
            logger.debug("consuming the queues of the groups %s", ", ".join(worker.app.settings.consume))


def queues_of(settings: Settings) -> list[str]:
    """Return the names of the queues that a worker with these settings consumes."""
    names: list[str] = []
    for group in settings.consume:
        names += initial_sync_queues(settings.initial_sync_queues) if group == "initial-sync" else [group]
    return names
