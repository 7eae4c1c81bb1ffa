"""Watching tasks from outside: Celery's events tell when, the result backend tells whether."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tasks.app import app

#: What the picture calls Celery's states.
STATES = {
    "PENDING": "queued",
    "RECEIVED": "queued",
    "STARTED": "running",
    "PROGRESS": "running",
    "RETRY": "waiting for a lock",
    "SUCCESS": "succeeded",
    "FAILURE": "failed",
    "REVOKED": "failed",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One action that was sent: its id and short name, its nodes, and when."""

    task_id: str
    action: str
    nodes: tuple[str, ...]
    at: float

    @property
    def state(self) -> str:
        """Where it stands, in the picture's words."""
        return STATES[app.backend.get_state(self.task_id)]

    @property
    def result(self) -> Any:
        """What it returned, or the error that it ended with."""
        return app.backend.get_result(self.task_id)


@dataclass(slots=True)
class Times:
    """When things happened to one task, in epoch seconds; None where it was not heard."""

    first_deferred: float | None = None
    started: float | None = None
    runtime: float | None = None

    def wait_since(self, moment: float | None) -> float | None:
        """From a moment to the start of the run that counted."""
        return max(0.0, self.started - moment) if self.started and moment else None


class EventListener:
    """Listens to Celery's events in a thread, as Flower does, and keeps the times of every task."""

    def __init__(self) -> None:
        self._times: dict[str, Times] = {}
        handlers = {
            "task-started": self._on_started,
            "task-retried": self._on_retried,
            "task-succeeded": self._on_succeeded,
        }
        self._connection = app.connection_for_read()
        self._receiver = app.events.Receiver(self._connection, handlers=handlers)
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"wakeup": False}, daemon=True)

    def times_of(self, sent: Sent) -> Times:
        """Return when things happened to a task, as far as it was heard."""
        return self._times.get(sent.task_id, Times())

    def _of(self, event: Mapping[str, Any]) -> Times:
        return self._times.setdefault(event["uuid"], Times())

    def _on_started(self, event: Mapping[str, Any]) -> None:
        self._of(event).started = event["timestamp"]

    def _on_retried(self, event: Mapping[str, Any]) -> None:
        times = self._of(event)
        times.first_deferred = times.first_deferred or event["timestamp"]

    def _on_succeeded(self, event: Mapping[str, Any]) -> None:
        self._of(event).runtime = event["runtime"]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(5)
        self._connection.release()


def queue_depths(queues: Sequence[str]) -> dict[str, int]:
    """Return how many tasks wait in each of the queues."""
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel  # celery-types knows a part of it only
        return {name: channel.queue_declare(name).message_count for name in queues}
