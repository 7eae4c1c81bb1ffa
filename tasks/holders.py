"""The owner under whose name a run of a task holds its locks: known to all who learn that the run is dead."""

from celery import current_task

#: The longest owner that a lock takes, in characters.
LONGEST = 200


def holder(consumer: str, task_id: str) -> str:
    """Return the owner of a run's locks.

    Args:
        consumer: the incarnation of the worker that was given the task.
        task_id: the task.
    """
    return f"{consumer}/{task_id}"[-LONGEST:]


def holder_of(delivery_tag: str, task_id: str) -> str | None:
    """Return the owner for a task that was delivered under this tag; None where no worker's queue delivered it."""
    consumer, _, _ = delivery_tag.rpartition("/")
    return holder(consumer, task_id) if consumer else None


def current_holder() -> str | None:
    """Return the owner for locks of the run in this thread; None outside a worker's task."""
    if not current_task or current_task.request.called_directly:
        return None
    request = current_task.request
    return holder_of(str((request.properties or {}).get("delivery_tag", "")), str(request.id))
