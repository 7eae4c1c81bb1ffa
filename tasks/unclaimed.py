"""Freeing the lock that a task was to take over, when the task ends without having started."""

from collections.abc import Mapping
from typing import Any

from celery import bootsteps, signals
from celery.utils.log import get_logger

from locking import LockError, LockManager
from tasks.transport import buried

logger = get_logger(__name__)

#: The header of a task's message that holds the handle of the lock which the task is to take over; a secret.
HEADER = "fleetring_lock"


def free(locks: LockManager, headers: Mapping[str, Any] | None) -> None:
    """Free the lock that a message with these headers was to bring, unless it was taken over already."""
    handle = (headers or {}).get(HEADER)
    if not isinstance(handle, str):
        return
    try:
        if locks.cancel(handle):
            logger.info("freed the lock that was handed to a task which never started")
    except LockError as trouble:
        logger.warning("a lock that was handed to a task which never started ends with its deadline only: %s", trouble)


class FreeUnclaimed(bootsteps.Step):
    """Frees the lock of a task that this worker received only to find it revoked, expired, or fit for no worker."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._app = worker.app
        signals.task_revoked.connect(self._free)
        buried.connect(self._free)

    def _free(self, request: Any = None, **_told: Any) -> None:
        headers = getattr(request, "headers", None)
        if headers and HEADER in headers:  # else nothing is to be opened
            free(self._app.runtime.locks, headers)
