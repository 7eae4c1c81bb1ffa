"""What can be asked of the queues, and done to them, from any process."""

import json
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal

import redis

from tasks.transport.envelope import MICROSECONDS, exact_priority
from tasks.transport.errors import NoSuchTask, no_such, refusal
from tasks.transport.look import Look
from tasks.transport.records import DeadLetter, ListedTask, NewTask, QueueStats, State, found

Gate = Literal["block", "reject"]
"""What adders do while a queue is quiesced: wait, or give up."""


UNPARKED_AT_ONCE = 1000
"""Tasks put back by one script: it takes some milliseconds, in which the server does nothing else."""


class Queues:
    """The queues behind one kombu connection.

    Args:
        connection: a connection whose transport is this package's, for example ``app.connection_for_write()``.
        results: the result backend of the application, ``app.backend``, whose callers see a dead letter that is
            retried as pending again. Defaults to None: they see its failure until it runs.
    """

    AT_ONCE = 50_000
    """Tasks that `add` takes: the server does nothing else for as long as it adds them."""

    def __init__(self, connection: Any, results: Any = None) -> None:
        self._connection = connection
        self._results = results

    def __repr__(self) -> str:
        return f"<Queues at {self._connection.as_uri()}>"

    def _call(self, verb: str, *arguments: Any) -> Any:
        channel = self._connection.default_channel
        channel.drop_stale()
        return channel.call(verb, *arguments)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def names(self) -> list[str]:
        """Return the names of all queues, sorted."""
        return [name.decode() for name in self._call("queues")]

    def occupied(self) -> list[str]:
        """Return the names of the queues in which a task lives: waits, or runs; sorted."""
        return [name.decode() for name in self._call("occupied")]

    # -- adding

    def add(self, tasks: Sequence[NewTask]) -> None:
        """Add new tasks, all or none, in one script, which takes some 10 microseconds of the server's time for each.

        Sent twice because an answer was lost, it adds them once.

        Raises:
            DuplicateTask: an id lives already, or occurs twice.
            QueueClosed: a queue is being quiesced.
            QueueFull: a queue takes less new work than this.
            ValueError: a priority is beyond +-2**53, or there are more tasks than `AT_ONCE`.
        """
        if not tasks:
            return
        if len(tasks) > self.AT_ONCE:
            raise ValueError(f"{len(tasks)} tasks are too many for one step: add at most {self.AT_ONCE} at once")
        channel = self._connection.default_channel
        arguments: list[Any] = [channel.max_queued, channel.max_parked]
        for _, run in groupby(tasks, key=attrgetter("queue", "priority", "delay", "lifetime")):
            alike = list(run)
            arguments += (*alike[0].kind, len(alike))
            arguments += (part for task in alike for part in (task.id, task.ordering, task.payload))
        try:
            self._call("add", *arguments)
        except redis.ResponseError as error:
            raise refusal(error) from None

    # -- single tasks

    def find(self, task_id: str) -> ListedTask:
        """Return one living task.

        Raises:
            NoSuchTask: no task with this id lives.
        """
        row = self._call("find", task_id)
        if row is None:
            raise no_such(task_id)
        return ListedTask.from_row(row[0].decode(), row[1:])

    def placed(self, turning: str) -> None:
        """Say that a running task has taken its place, see `ordering`; `turning` is the property of its message."""
        self._call("placed", turning)

    def look(self, queue: str, task_id: str = "", most: int = 20) -> Look:
        """Look at a queue, at the place of one of its tasks, and at what each consumer has, all at one moment.

        Args:
            queue: its name.
            task_id: the task. Defaults to none.
            most: how many tasks of a consumer are told. Defaults to 20.
        """
        return Look.from_answer(queue, self._call("look", queue, task_id, most))

    def letter(self, task_id: str) -> DeadLetter | None:
        """Return the dead letter of a task, if there is one."""
        found = self._call("letter", task_id)
        return DeadLetter.from_letter(found[0].decode(), task_id, found[1]) if found else None

    def living(self, queue: str, task_ids: Sequence[str]) -> list[str]:
        """Return those of `task_ids` that still live in `queue`."""
        answers = self._call("living", queue, *task_ids)
        return [task_id for task_id, lives in zip(task_ids, answers, strict=True) if lives]

    def change_priority(self, task_id: str, priority: int) -> State:
        """Give a waiting task another priority; its arrival, and so its place among equals, stays.

        Raises:
            NoSuchTask: no task with this id is ready, delayed or parked.
        """
        return found(task_id, self._call("change_priority", task_id, exact_priority(priority)))

    def cancel(self, task_id: str) -> State:
        """Remove a waiting task at once, or flag a running one; returns where it was.

        Raises:
            NoSuchTask: no task with this id lives.
        """
        return found(task_id, self._call("cancel", task_id))

    def withdraw(self, task_id: str) -> bool:
        """Take a task that is ready to start out of its queue, so that nobody starts it; whether it was there."""
        return self._call("cancel", task_id, "ready") is not None

    def is_stopping(self, task_id: str, queue: str) -> bool:
        """Tell whether a running task is asked to end: it was cancelled, or its queue is to have no slots."""
        return bool(self._call("is_stopping", task_id, queue))

    def is_cancelled(self, task_id: str) -> bool:
        """Tell whether a running task was cancelled."""
        return bool(self._call("is_cancelled", task_id))

    def unpark(self, *task_ids: str) -> list[str]:
        """Put parked tasks back into their queues; returns the ids of which no task lives.

        A task that still runs, on its way to be parked, goes back as soon as it is.
        """
        gone: list[str] = []
        for first in range(0, len(task_ids), UNPARKED_AT_ONCE):
            chunk = task_ids[first : first + UNPARKED_AT_ONCE]
            gone += (task_id.decode() for task_id in self._call("unpark", *chunk))
        return gone

    def parked(self, turn: float) -> list[str] | None:
        """Return the ids of all parked tasks to the first who asks within `turn` seconds, to all others None.

        Those that have expired are handed out, so that a worker records it. Where more than a thousand tasks a second
        of the turn are parked, the turn lasts longer.
        """
        members = self._call("parked", round(turn * 1000))
        return None if members is None else [member[16:].decode() for member in members]

    # -- queues

    def pause(self, queue: str, reason: str) -> None:
        """Let nothing of `queue` start, for this `reason`, until it is resumed for each of its reasons."""
        self._call("pause", queue, reason, "1")

    def resume(self, queue: str, reason: str) -> bool:
        """Take back one reason for a pause; returns whether the queue runs now."""
        return int(self._call("pause", queue, reason, "0")) == 0

    def limit(self, queue: str, slots: int | None) -> None:
        """Let at most `slots` tasks of `queue` run at once, over all workers; None takes the limit away."""
        self._call("limit", queue, "" if slots is None else slots)

    def bound(self, queue: str, max_queued: int | None, max_parked: int | None) -> None:
        """Let `queue` take no new work while so many tasks live in it, or so many of them are parked.

        Args:
            queue: its name.
            max_queued: how many tasks wait or run; 0 for any number, None for the transport option of each publisher.
            max_parked: how many tasks are parked; 0 and None as above.
        """
        self._call("bound", queue, *("-" if most is None else most for most in (max_queued, max_parked)))

    def close_gate(self, queue: str, token: str, mode: Gate, seconds: float) -> None:
        """Refuse new tasks for `queue`, for so many seconds at most; each token closes it for itself.

        What lives already may be published again, and running tasks of the queue may add their children.
        """
        self._call("gate", queue, token, mode, round(seconds * MICROSECONDS))

    def open_gate(self, queue: str, token: str) -> None:
        """Take back what this token closed."""
        self._call("gate", queue, token, "", 0)

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
        depth, oldest, age, running, parked, delayed, dead, paused, limit, bounds = self._call("stats", queue)
        channel = self._connection.default_channel
        stored = bounds.split() or [b"-", b"-"]
        usual = (channel.max_queued, channel.max_parked)
        max_queued, max_parked = (own if own != b"-" else most for own, most in zip(stored, usual, strict=True))
        return QueueStats(
            queue=queue,
            depth={int(depth[i]): int(depth[i + 1]) for i in range(0, len(depth), 2)},
            oldest=int(age) / MICROSECONDS if oldest else None,
            running=int(running),
            parked=int(parked),
            delayed=int(delayed),
            dead=int(dead),
            pauses={reason: int(at) / MICROSECONDS for reason, at in json.loads(paused or b"{}").items()},
            slots=int(limit) if limit else None,
            max_queued=int(max_queued) or None,
            max_parked=int(max_parked) or None,
        )

    def tasks(self, queue: str, limit: int = 100) -> list[ListedTask]:
        """List living tasks: ready ones in the order of their start, running, delayed, parked; `limit` of each kind."""
        listed = self._call("list", queue, limit)
        return [ListedTask.from_row(queue, listed[i : i + 4]) for i in range(0, len(listed), 4)]

    def held_by(self, consumer: str) -> list[ListedTask]:
        """List the tasks that a consumer was given and has not settled, in the order of their arrival."""
        held = self._call("held", consumer)
        return [
            ListedTask.from_row(held[i].decode(), (b"running", held[i + 1], consumer.encode(), held[i + 2]))
            for i in range(0, len(held), 3)
        ]

    def ids(self, queue: str) -> list[str]:
        """Return the ids of all living tasks of `queue`; a long queue costs the server a moment."""
        return [task_id.decode() for task_id in self._call("ids", queue)]

    # -- dead letters

    def dead_letters(self, queue: str) -> list[DeadLetter]:
        """List the dead letters of `queue`, the oldest first."""
        flat = self._call("letters", queue)
        letters = [DeadLetter.from_letter(queue, flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2)]
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
