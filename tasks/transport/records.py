"""What scripts take and answer, as values that callers can read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from tasks.transport.consumer import worker_of
from tasks.transport.envelope import MICROSECONDS, Delivery, Message, exact_priority
from tasks.transport.errors import no_such

State = Literal["ready", "running", "delayed", "parked"]


def name_in(payload: bytes) -> str:
    """Return the name of the task in a payload; ``?`` when nobody can read it."""
    try:
        return str(json.loads(payload)["headers"]["task"])
    except (ValueError, LookupError, TypeError):
        return "?"


@dataclass(frozen=True)
class QueueStats:
    """One queue at one moment.

    Attributes:
        depth: number of ready tasks by priority.
        oldest: age in seconds of the ready task that arrived first; None without one.
        pauses: named reasons for which the queue is paused, each with the time (epoch seconds) since when.
        slots: how many of its tasks run at once, at most; None without a limit.
        max_queued: with how many living tasks it takes no new work; None for any number.
        max_parked: with how many parked tasks it takes no new work; None for any number.
    """

    queue: str
    depth: dict[int, int]
    oldest: float | None
    running: int
    parked: int
    delayed: int
    dead: int
    pauses: dict[str, float]
    slots: int | None
    max_queued: int | None
    max_parked: int | None

    @property
    def ready(self) -> int:
        """Number of tasks that could start now."""
        return sum(self.depth.values())


class Waiting(NamedTuple):
    """How the next task of a queue waits.

    Attributes:
        seconds: since its arrival.
        lost_before: whether a worker had it before, and died or gave it back.
    """

    seconds: float
    lost_before: bool


@dataclass(frozen=True)
class News:
    """What a worker hears from the broker with each heartbeat.

    Attributes:
        parking: whether tasks are parked.
        sizes: how many tasks run at once of each queue that has a limit.
        waiting: how the next task waits of each queue in which tasks live; None where it is paused, or none is ready.
    """

    parking: bool
    sizes: dict[str, int]
    waiting: dict[str, Waiting | None]

    @classmethod
    def from_answer(cls, parking: int, limits: Sequence[bytes], waiting: Sequence[bytes]) -> Self:
        """Read what ``claim.lua`` tells."""
        return cls(
            parking=parking > 0,
            sizes={limits[i].decode(): int(limits[i + 1]) for i in range(0, len(limits), 2)},
            waiting={
                waiting[i].decode(): Waiting(int(waiting[i + 1]) / MICROSECONDS, waiting[i + 2] == b"1")
                if waiting[i + 1]
                else None
                for i in range(0, len(waiting), 3)
            },
        )


class ClaimAnswer(NamedTuple):
    """What ``claim.lua`` answers to a consumer whose lease is its own.

    Attributes:
        idle: whether the consumer is woken when there is work for it.
        next_due: seconds until it should ask again; None when it may wait for that.
        given: the tasks that it got.
        buried: dead letters that it is to tell of: queue, id, worker and reason of each.
        died: a consumer that it found dead, and the ids of the tasks that this one had; empty without one.
        news: what it asked for; None when it did not.
    """

    idle: bool
    next_due: float | None
    given: list[Delivery]
    buried: Sequence[bytes] = ()
    died: Sequence[bytes] = ()
    news: News | None = None

    @classmethod
    def read(cls, answer: Sequence[Any]) -> Self | None:
        """Read an answer; None means that the lease is lost."""
        state = answer[0]
        if state == b"lost":
            return None
        due, last = int(state[2:]), len(answer) - 1
        given = [Delivery.from_answer(answer[i], answer[i + 1]) for i in range(1, last, 2)]
        answered = cls(state[:1] == b"1", due / MICROSECONDS if due >= 0 else None, given)
        if last % 2 == 0:
            return answered
        buried, died, news = answer[last]
        return answered._replace(buried=buried, died=died, news=News.from_answer(*news) if news else None)


@dataclass(frozen=True)
class ListedTask:
    """One living task. Times are epoch seconds on the server's clock; `due` is set for delayed tasks only."""

    id: str
    name: str
    queue: str
    state: State
    priority: int
    arrival: float
    redeliveries: int
    due: float | None
    worker: str | None
    payload: bytes = field(repr=False)

    @classmethod
    def from_row(cls, queue: str, row: Sequence[bytes]) -> Self:
        """Read what ``list.lua`` or ``find.lua`` says of one task: state, member, detail, record."""
        state, member, detail, record = row
        header, _, payload = record.partition(b"\n")
        arrival, priority, redeliveries = map(int, header.split(b" ")[:3])
        return cls(
            id=member[16:].decode(),
            name=name_in(payload),
            queue=queue,
            state=state.decode(),  # type: ignore[arg-type] # the scripts know no other states
            priority=priority,
            arrival=arrival / MICROSECONDS,
            redeliveries=redeliveries,
            due=float(detail) / MICROSECONDS if state == b"delayed" else None,
            worker=(worker_of(detail.decode()) or None) if state == b"running" else None,
            payload=payload,
        )


@dataclass(frozen=True)
class DeadLetter:
    """A task that will not be tried again by itself: why, when (epoch seconds), and who had it last."""

    id: str
    name: str
    queue: str
    reason: str
    at: float
    worker: str
    redeliveries: int
    payload: bytes = field(repr=False)

    @classmethod
    def from_letter(cls, queue: str, task_id: str, letter: bytes) -> Self:
        """Read what ``letters.lua`` says of one dead letter: a line of JSON, then the payload."""
        line, _, payload = letter.partition(b"\n")
        told = json.loads(line)
        return cls(
            id=task_id,
            name=name_in(payload),
            queue=queue,
            reason=told["reason"],
            at=int(told["at"]) / MICROSECONDS,
            worker=worker_of(told["worker"]),
            redeliveries=int(told["deliveries"]),
            payload=payload,
        )


class NewTask(NamedTuple):
    """One task to add as it stands: `payload` is a kombu message in JSON; `delay` and `lifetime` are seconds.

    `ordering` is what `tasks.transport.ordering` returns; empty for a task that runs beside any other.
    """

    queue: str
    id: str
    payload: str
    priority: int = 0
    delay: float = 0.0
    lifetime: float | None = None
    ordering: str = ""

    @property
    def kind(self) -> tuple[str, int, int, int | str]:
        """Queue, priority, delay and lifetime, as scripts take them.

        Raises:
            ValueError: the priority is beyond +-2**53.
        """
        lifetime = "" if self.lifetime is None else round(self.lifetime * MICROSECONDS)
        return self.queue, exact_priority(self.priority), round(self.delay * MICROSECONDS), lifetime


class Announcement(NamedTuple):
    """An event for monitors, as a kombu message, and where it goes."""

    exchange: str
    routing_key: str
    message: Message


def found(task_id: str, state: bytes | None) -> State:
    """Return the state that a script found a task in; raises NoSuchTask when it found none."""
    if state is None:
        raise no_such(task_id)
    return state.decode()  # type: ignore[return-value] # the scripts know no other states
