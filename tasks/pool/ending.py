"""Telling those who wait for a task that it will not run any more."""

import json
from typing import Any

from celery.app.task import Context

from tasks.app import app
from tasks.transport import DeadLetter, ListedTask
from tasks.unclaimed import HEADER, free


def record_end(task: ListedTask | DeadLetter, reason: str) -> None:
    """Make the result of a task that was removed REVOKED, fail the chord that waits for it, and tell monitors.

    A lock that it was to take over is free again.
    """
    request = _request(task.payload)
    if request is not None and HEADER in (request.headers or {}):
        free(app.runtime.locks, request.headers)
    ignored = request is not None and request.ignore_result
    app.backend.mark_as_revoked(task.id, reason, request=request, store_result=not ignored)
    with app.events.default_dispatcher() as dispatcher:
        dispatcher.send("task-revoked", uuid=task.id, terminated=False, signum=None, expired=False)


def _request(payload: bytes) -> Context | None:
    """Return the request as a worker would see it; None for a message that nobody can read."""
    try:
        message = json.loads(payload)
        args, kwargs, embedded = json.loads(message["body"])
        known: dict[str, Any] = {**message["headers"], **embedded, "args": args, "kwargs": kwargs}
    except (ValueError, LookupError, TypeError):
        return None
    return Context(known)
