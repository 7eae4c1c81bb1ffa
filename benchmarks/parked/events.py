"""Celery's events of a run, and what they tell of slots."""

import statistics
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tasks import app

ENDS = {"task-succeeded", "task-failed", "task-retried", "task-revoked", "task-rejected"}


@dataclass(frozen=True, slots=True)
class Slots:
    """What slots were taken for.

    Attributes:
        most: how many were taken at once.
        parking: seconds for which each run that ended parked had a slot.
        working: seconds for which each other run had one.
    """

    most: int
    parking: list[float]
    working: list[float]

    @property
    def longest(self) -> float:
        """The longest time for which a task whose node was busy had a slot."""
        return max(self.parking, default=0.0)

    @property
    def typical(self) -> float:
        """The median of these times."""
        return statistics.median(self.parking) if self.parking else 0.0

    @property
    def share(self) -> float:
        """Of all time in slots, that of tasks whose node was busy."""
        return sum(self.parking) / (sum(self.parking) + sum(self.working) or 1.0)


class Watch:
    """Takes down the events of all workers."""

    def __init__(self) -> None:
        self.events: list[tuple[float, str, str]] = []
        self._receiver: Any = None

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "task-started" or event["type"] in ENDS:
            self.events.append((event["timestamp"], event["type"], event["uuid"]))

    def _run(self, ready: threading.Event) -> None:
        with app.connection_for_read() as connection:
            self._receiver = app.events.Receiver(connection, handlers={"*": self._take})
            self._receiver.on_consume_ready = lambda *_, **__: ready.set()
            self._receiver.capture(limit=None, timeout=None, wakeup=False)

    @contextmanager
    def watching(self) -> Iterator["Watch"]:
        """Take down what happens while a block lasts."""
        ready = threading.Event()
        thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        thread.start()
        ready.wait(10)
        yield self
        self._receiver.should_stop = True
        thread.join(10)

    def slots(self) -> Slots:
        """Tell what slots were taken for."""
        started: dict[str, float] = {}
        taken = most = 0
        spent: dict[bool, list[float]] = defaultdict(list)
        for at, kind, task in sorted(self.events):
            if kind == "task-started":
                started[task] = at
                taken += 1
                most = max(most, taken)
            elif task in started:
                taken -= 1
                spent[kind == "task-retried"].append(at - started.pop(task))
        return Slots(most, spent[True], spent[False])
