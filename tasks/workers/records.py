"""What a worker says of itself, and what others know of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, Self

Wish = Literal["", "drain", "stop"]
"""What an operator wants of a worker; nothing is that it works."""


class Stage(StrEnum):
    """Where a worker stands in its life."""

    RUNNING = "running"
    """It takes tasks."""
    DRAINING = "draining"
    """It takes no new tasks, and still has some."""
    DRAINED = "drained"
    """It has no tasks, and takes none."""
    STOPPING = "stopping"
    """As draining, and then it ends."""
    LOST = "lost"
    """It has given no sign for longer than its lease, and did not say goodbye."""


@dataclass(frozen=True)
class Report:
    """What a worker says of itself.

    Args:
        name: the worker's name, the same after a restart.
        incarnation: which start of it this is.
        host: the machine.
        pid: of its main process.
        pool: how it runs tasks: prefork, threads or solo.
        slots: how many tasks it runs at once.
        weight: its share of the dedicated queues, relative to other workers'.
        stage: where it stands; never lost.
        consumer: under which id it holds tasks; empty before it has any.
        queues: what it consumes.
        node_drivers: the drivers of nodes that are installed there.
        subcloud_drivers: the drivers of subclouds.
        capabilities: what the application adds.
    """

    name: str
    incarnation: str
    host: str
    pid: int
    pool: str
    slots: int
    weight: float
    stage: Stage
    consumer: str
    queues: tuple[str, ...]
    node_drivers: tuple[str, ...]
    subcloud_drivers: tuple[str, ...]
    capabilities: tuple[Mapping[str, Any], ...]

    def dump(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it from JSON."""
        told = json.loads(text)
        lists = ("queues", "node_drivers", "subcloud_drivers", "capabilities")
        return cls(**{**told, "stage": Stage(told["stage"]), **{name: tuple(told[name]) for name in lists}})


@dataclass(frozen=True)
class Seen:
    """What the register knows of a worker.

    Args:
        name: the worker.
        report: its last one; None when that has expired.
        age: seconds since then; None for a worker that was never seen, or not for a day.
        to_drain: whether it is to be drained.
        to_stop: the incarnation that is to end.
    """

    name: str
    report: Report | None
    age: float | None
    to_drain: bool
    to_stop: str | None
