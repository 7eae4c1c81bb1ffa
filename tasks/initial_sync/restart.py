"""What a worker does about unfinished initial syncs when it starts: nothing, unless the settings ask for a sweep."""

from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from tasks.initial_sync.requests import sweep

logger = get_logger(__name__)


class SweepUnfinished(bootsteps.StartStopStep):
    """Boot step of a worker that requests all unfinished syncs anew, as the original does when an engine starts.

    With the setting ``sync_restart`` at its default it is left out: a dead worker's leases end by themselves, and what
    a living one works on must not be touched.
    """

    def include_if(self, parent: Any) -> bool:
        """True where the settings ask for it."""
        return bool(parent.app.settings.sync_restart == "sweep")

    def start(self, parent: Any) -> None:
        """Sweep."""
        swept = sweep()
        logger.info("%d initial syncs were in progress or failed, and will be attempted again", swept)
