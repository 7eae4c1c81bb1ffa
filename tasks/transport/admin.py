"""What can be asked of the queues, and done to them, from any process."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import redis

from tasks.transport.envelope import MICROSECONDS, exact_priority
from tasks.transport.errors import DuplicateTask, NoSuchTask
from tasks.transport.scripts import call

State = Literal["ready", "running", "delayed", "parked"]


@dataclass(frozen=True)
class QueueStats:
    """One queue at one moment.

    Attributes:
        depth: number of ready tasks by priority.
        oldest: age in seconds of the ready task that arrived first; None without one.
        pauses: named reasons for which the queue is paused, each with the time (epoch seconds) since when.
    """

    queue: str
    depth: dict[int, int]
    oldest: float | None
    running: int
    parked: int
    delayed: int
    dead: int
    pauses: dict[str, float]

    @property
    def ready(self) -> int:
        """Number of tasks that could start now."""
        return sum(self.depth.values())


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
    payload: bytes


@dataclass(frozen=True)
class NewTask:
    """One task to publish as it stands: `payload` is a kombu message in JSON; `delay` and `lifetime` are seconds."""

    queue: str
    id: str
    payload: str
    priority: int = 0
    delay: float = 0.0
    lifetime: float | None = None


class Queues:
    """The queues behind one kombu connection.

    Args:
        connection: a connection whose transport is this package's, for example ``app.connection_for_write()``.
        results: the result backend of the application, ``app.backend``, whose callers see a dead letter that is
            retried as pending again. Defaults to None: they see its failure until it runs.
    """

    CHUNK = 5000
    """Tasks published by one script: it takes some tens of milliseconds, in which the server does nothing else."""

    def __init__(self, connection: Any, results: Any = None) -> None:
        self._connection = connection
        self._results = results

    def __repr__(self) -> str:
        return f"<Queues at {self._connection.as_uri()}>"

    def _call(self, verb: str, *arguments: Any) -> Any:
        with self._connection.default_channel.conn_or_acquire() as client:
            return call(client, verb, *arguments)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def names(self) -> list[str]:
        """Return the names of all queues, sorted."""
        return [name.decode() for name in self._call("queues")]

    # -- adding

    def publish(self, tasks: Iterable[NewTask], unique: bool = True) -> int:
        """Publish `tasks`, up to `CHUNK` at a time, each chunk all or nothing; returns their number.

        Args:
            tasks: what to publish.
            unique: whether an id that lives already is an error. Defaults to True; False replaces the older task.

        Raises:
            DuplicateTask: an id of the chunk lives already, or occurs twice in it; nothing of the chunk is published.
            ValueError: a priority is beyond +-2**53.
        """
        count, rest = 0, iter(tasks)
        while chunk := list(islice(rest, self.CHUNK)):
            arguments = [part for task in chunk for part in _arguments(task)]
            try:
                count += self._call("publish", "1" if unique else "0", "1", *arguments)
            except redis.ResponseError as error:
                raise _duplicate(error) from None
        return count

    # -- waiting tasks

    def change_priority(self, task_id: str, priority: int) -> State:
        """Give a waiting task another priority; its arrival, and so its place among equals, stays.

        Raises:
            NoSuchTask: no task with this id is ready, delayed or parked.
        """
        return _found(task_id, self._call("change_priority", task_id, exact_priority(priority)))

    def cancel(self, task_id: str) -> State:
        """Remove a waiting task at once, or flag a running one; returns where it was.

        Raises:
            NoSuchTask: no task with this id lives.
        """
        return _found(task_id, self._call("cancel", task_id))

    def is_cancelled(self, task_id: str) -> bool:
        """Tell whether a running task was cancelled."""
        return bool(self._call("is_cancelled", task_id))

    def park(self, task_id: str) -> None:
        """Take a task out of its slot, or queue, until it is unparked; its arrival stays.

        Raises:
            NoSuchTask: no task with this id lives.
        """
        if not self._call("park", task_id):
            raise _no_such(task_id)

    def unpark(self, *task_ids: str) -> int:
        """Put parked tasks back into their queues; returns how many were parked."""
        return int(self._call("unpark", *task_ids))

    # -- queues

    def pause(self, queue: str, reason: str) -> None:
        """Let nothing of `queue` start, for this `reason`, until it is resumed for each of its reasons."""
        self._call("pause", queue, reason, "1")

    def resume(self, queue: str, reason: str) -> bool:
        """Take back one reason for a pause; returns whether the queue runs now."""
        return int(self._call("pause", queue, reason, "0")) == 0

    def set_ageing(self, queue: str, seconds: float | None) -> None:
        """Make one level of priority worth so many seconds of arrival in `queue`; None is strict order, the default.

        Raises:
            ValueError: `seconds` is not above 0.
        """
        if seconds is not None and not seconds > 0:
            raise ValueError(f"ageing of {seconds!r} s is not usable: give more than 0, or None for strict order")
        self._call("ageing", queue, seconds or 0)

    def stats(self, queue: str) -> QueueStats:
        """Count what `queue` holds; an unknown queue holds nothing."""
        depth, oldest, age, running, parked, delayed, dead, paused = self._call("stats", queue)
        return QueueStats(
            queue=queue,
            depth={int(depth[i]): int(depth[i + 1]) for i in range(0, len(depth), 2)},
            oldest=int(age) / MICROSECONDS if oldest else None,
            running=int(running),
            parked=int(parked),
            delayed=int(delayed),
            dead=int(dead),
            pauses={reason: int(at) / MICROSECONDS for reason, at in json.loads(paused or b"{}").items()},
        )

    def has_running_tasks(self, queue: str) -> bool:
        """Tell whether a worker holds a task of `queue`."""
        return self.stats(queue).running > 0

    def tasks(self, queue: str, limit: int = 100) -> list[ListedTask]:
        """List living tasks: ready ones in the order of their start, running, delayed, parked; `limit` of each kind."""
        listed = self._call("list", queue, limit)
        return [_listed(queue, listed[i : i + 4]) for i in range(0, len(listed), 4)]

    # -- dead letters

    def dead_letters(self, queue: str) -> list[DeadLetter]:
        """List the dead letters of `queue`, the oldest first."""
        flat = self._call("letters", queue)
        letters = [_letter(queue, flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2)]
        return sorted(letters, key=lambda letter: (letter.at, letter.id))

    def retry_dead(self, task_id: str) -> None:
        """Put a dead letter back into its queue, as a new arrival with its old priority.

        Raises:
            NoSuchTask: there is no such dead letter.
        """
        if self._results is not None and self._call("letter", task_id):
            self._results.forget(task_id)  # before it can run: what it comes to now must stay
        self._exhume(task_id, "1")

    def drop_dead(self, task_id: str) -> None:
        """Delete a dead letter.

        Raises:
            NoSuchTask: there is no such dead letter.
        """
        self._exhume(task_id, "0")

    def _exhume(self, task_id: str, back: str) -> None:
        if not self._call("exhume", task_id, back):
            raise NoSuchTask(f"Dead letter {task_id!r} was not found: it was retried or dropped before, or never was")


def _arguments(task: NewTask) -> Sequence[Any]:
    lifetime = "" if task.lifetime is None else round(task.lifetime * MICROSECONDS)
    return task.queue, task.id, exact_priority(task.priority), round(task.delay * MICROSECONDS), lifetime, task.payload


def _duplicate(error: redis.ResponseError) -> Exception:
    _, _, task_id = str(error).partition("DUPLICATE ")
    if not task_id:
        return error
    return DuplicateTask(f"Task {task_id!r} lives already: wait until it has ended, or choose another id")


def _no_such(task_id: str) -> NoSuchTask:
    return NoSuchTask(f"Task {task_id!r} was not found: it has ended, it runs, or it never was queued here")


def _found(task_id: str, state: bytes | None) -> State:
    if state is None:
        raise _no_such(task_id)
    return state.decode()  # type: ignore[return-value] # the scripts know no other states


def _name_in(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["headers"]["task"])
    except (ValueError, LookupError, TypeError):
        return "?"


def _listed(queue: str, row: list[bytes]) -> ListedTask:
    state, member, detail, record = row
    header, _, payload = record.partition(b"\n")
    arrival, priority, redeliveries, _ = map(int, header.split(b" "))
    return ListedTask(
        id=member[16:].decode(),
        name=_name_in(payload),
        queue=queue,
        state=state.decode(),  # type: ignore[arg-type] # the script knows no other states
        priority=priority,
        arrival=arrival / MICROSECONDS,
        redeliveries=redeliveries,
        due=float(detail) / MICROSECONDS if state == b"delayed" else None,
        worker=detail.decode() if state == b"running" else None,
    )


def _letter(queue: str, task_id: str, letter: bytes) -> DeadLetter:
    line, _, payload = letter.partition(b"\n")
    told = json.loads(line)
    return DeadLetter(
        id=task_id,
        name=_name_in(payload),
        queue=queue,
        reason=told["reason"],
        at=int(told["at"]) / MICROSECONDS,
        worker=told["worker"],
        redeliveries=int(told["deliveries"]),
        payload=payload,
    )
