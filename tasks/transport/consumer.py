"""The identity under which a channel holds tasks. The next channel inherits it, so a reconnect interrupts nothing."""

import os
import secrets
import socket
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any


@dataclass(slots=True)
class Holding:
    """One delivery of a task: the number of the claim that gave it, who may settle it, and what went wrong."""

    member: str
    queue: str
    claim: int
    message: Callable[[], Any]
    trouble: str = "it was rejected"

    @property
    def task_id(self) -> str:
        """The id of the task; the 16 digits before it are its arrival in microseconds."""
        return self.member[16:]

    @property
    def receipt(self) -> tuple[str, str]:
        """What settles this delivery, and no other one of the same task to the same consumer."""
        return self.member, f"{self.claim} {self.queue}"

    @property
    def alive(self) -> bool:
        """False once nothing in the process refers to the message: nobody can settle it any more."""
        return self.message() is not None


def _nothing() -> None:
    return None


class Consumer:
    """One incarnation of a consumer: an id with a lease, what it holds, and what it has to settle.

    Args:
        name: who it is, for operators. Defaults to host name and process id.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._tags = count(1)
        self._claims = count(1)
        self._lock = threading.Lock()
        self._start_over()

    def _start_over(self) -> None:
        self.id = f"{self.name}.{secrets.token_hex(6)}"  # see worker_of
        self.known = False
        self.held: dict[str, Holding] = {}
        self._finished: list[Holding] = []
        self._refused: list[tuple[Holding, bool]] = []
        self._parked: list[Holding] = []

    def rename(self, name: str) -> None:
        """Take the name that operators know, unless this incarnation has shown itself to the broker already."""
        if not self.known:
            self.name = name
            self._start_over()

    def number_claim(self) -> int:
        """Return the number of the next claim; what it gives is held under that number."""
        return next(self._claims)

    def hold(self, queue: str, member: str, claim: int) -> str:
        """Remember a task that was claimed, and return the tag under which it is delivered."""
        tag = f"{self.id}/{next(self._tags)}"
        self.held[tag] = Holding(member, queue, claim, _nothing)
        return tag

    def attach(self, tag: str, message: Any) -> None:
        """Tie a delivered message to what is held under `tag`; other tags (broadcasts) are none of our business."""
        if tag in self.held:
            self.held[tag].message = weakref.ref(message)

    def finish(self, tag: str) -> bool:
        """Note that the task under `tag` is done; False when it is not ours (any more)."""
        with self._lock:
            holding = self.held.pop(tag, None)
            if holding:
                self._finished.append(holding)
        return holding is not None

    def park(self, tag: str) -> bool:
        """Note that the task under `tag` is set aside; False when it is not ours (any more)."""
        with self._lock:
            holding = self.held.pop(tag, None)
            if holding:
                self._parked.append(holding)
        return holding is not None

    def explain(self, tag: str, trouble: str) -> None:
        """Remember what went wrong with the task under `tag`, in case that it is refused."""
        if tag in self.held:
            self.held[tag].trouble = trouble

    def refuse(self, tag: str, requeue: bool) -> bool:
        """Note that the task under `tag` goes back, or to the dead letters; False when it is not ours (any more)."""
        with self._lock:
            holding = self.held.pop(tag, None)
            if holding:
                self._refused.append((holding, requeue))
        return holding is not None

    def give_up(self, tags: list[str]) -> list[Holding]:
        """Forget what is held under `tags`, to return it unserved."""
        return [holding for tag in tags if (holding := self.held.pop(tag, None))]

    def orphans(self) -> list[str]:
        """Tags of tasks whose messages are gone: whatever was to run them has dropped them."""
        return [tag for tag, holding in list(self.held.items()) if not holding.alive]

    @property
    def unsettled(self) -> bool:
        """True while something is done that the broker was not told."""
        return bool(self._finished or self._refused or self._parked)

    def take_finished(self) -> list[Holding]:
        """Take what is to be acknowledged; give it back with `untake` when the broker did not hear it."""
        with self._lock:
            finished, self._finished = self._finished, []
        return finished

    def untake(self, finished: list[Holding]) -> None:
        """Give back what `take_finished` took: acknowledging twice does no harm."""
        with self._lock:
            self._finished = finished + self._finished

    def take_refused(self) -> list[tuple[Holding, bool]]:
        """Take what is to be returned (True) or buried (False)."""
        if not self._refused:
            return []
        with self._lock:
            refused, self._refused = self._refused, []
        return refused

    def take_parked(self) -> list[Holding]:
        """Take what is to be parked."""
        if not self._parked:
            return []
        with self._lock:
            parked, self._parked = self._parked, []
        return parked

    def kept(self) -> list[Holding]:
        """Everything that must not be given to anybody else: held by a living message, or not yet settled."""
        with self._lock:
            settling = [*self._finished, *self._parked, *(holding for holding, _ in self._refused)]
        return [*(holding for holding in list(self.held.values()) if holding.alive), *settling]

    def lapse(self) -> int:
        """Begin anew after the lease was lost; returns how many tasks have gone to others."""
        lost = len(self.held) + len(self._finished) + len(self._refused) + len(self._parked)
        with self._lock:
            self._start_over()
        return lost


def worker_of(consumer: str) -> str:
    """Return the name in a consumer's id: the worker, as operators know it."""
    return consumer.rpartition(".")[0]


_estates: dict[tuple[object, ...], list[Consumer]] = {}


def bequeath(consumer: Consumer, *broker: object) -> None:
    """Leave `consumer` to the next channel that this process opens on `broker`."""
    if consumer.known:
        _estates.setdefault((os.getpid(), *broker), []).append(consumer)


def inherit(*broker: object) -> Consumer:
    """Return what a broken channel of this process left on `broker`, else a new consumer; a fork inherits none."""
    estate = _estates.get((os.getpid(), *broker))
    return estate.pop() if estate else Consumer()
