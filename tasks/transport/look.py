"""What one look at a queue and at all consumers tells."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from tasks.transport.envelope import MICROSECONDS


@dataclass(frozen=True)
class HeldTask:
    """A task that a consumer has."""

    queue: str
    id: str
    priority: int
    name: str


@dataclass(frozen=True)
class HeldBy:
    """A consumer, the seconds that are left of its lease, how many tasks it has, and some of them."""

    consumer: str
    lease_left: float
    count: int
    tasks: tuple[HeldTask, ...]


@dataclass(frozen=True)
class Look:
    """A queue, one task's place in it, and all consumers, at one moment (`at`, epoch seconds of the server).

    Attributes:
        slots: how many of its tasks run at once, at most; None without a limit.
        pauses: reasons for which it is paused, each with the time since when.
        gate: ``block`` or ``reject`` while it is quiesced, for `gate_left` seconds more at most; else empty.
        ahead: how many ready tasks start before the task; None when it is not ready.
        cancelled: whether the running task was asked to end.
        behind: an ordering key, and the id of the first in its line, where the task stands in that; else None.
    """

    queue: str
    at: float
    ready: int
    running: int
    delayed: int
    parked: int
    slots: int | None
    pauses: dict[str, float]
    gate: str
    gate_left: float
    ahead: int | None
    cancelled: bool
    behind: tuple[str, str] | None
    consumers: tuple[HeldBy, ...]

    @classmethod
    def from_answer(cls, queue: str, answer: Sequence[Any]) -> Self:
        """Read what ``look.lua`` says."""
        now, ready, running, delayed, parked, limit, paused, gate, left, ahead, cancelled, line, consumers = answer
        return cls(
            queue=queue,
            at=int(now) / MICROSECONDS,
            ready=ready,
            running=running,
            delayed=delayed,
            parked=parked,
            slots=int(limit) if limit else None,
            pauses={reason: int(at) / MICROSECONDS for reason, at in json.loads(paused or b"{}").items()},
            gate=gate.decode(),
            gate_left=int(left) / MICROSECONDS,
            ahead=None if ahead < 0 else ahead,
            cancelled=bool(cancelled),
            behind=(line[0].decode(), line[1].decode()) if line else None,
            consumers=tuple(_held(*consumers[i : i + 4]) for i in range(0, len(consumers), 4)),
        )


def _held(consumer: bytes, lease_left: bytes, count: int, told: Sequence[bytes]) -> HeldBy:
    tasks = (
        HeldTask(told[i].decode(), told[i + 1].decode(), int(told[i + 2]), told[i + 3].decode())
        for i in range(0, len(told), 4)
    )
    return HeldBy(consumer.decode(), int(lease_left) / MICROSECONDS, count, tuple(tasks))
