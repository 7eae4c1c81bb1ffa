"""The gate before a central dependency: a token bucket and adaptive places, shared by all workers through Redis."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import uuid4

import redis

from tasks.storm.errors import CentreBusy, CentreFailed

logger = logging.getLogger(__name__)

ROOT = "fleetring:centre:"
#: A place that was not given back lapses after so many seconds: its process died, or hangs.
PLACE_LEASE = 60.0
#: How long a caller waits for a place before it gives way, in seconds: longer would waste its slot.
PATIENCE = 2.0
#: After so many seconds a caller asks again whose gate did not answer.
SILENCE = 5.0

Client = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of a central dependency the whole deployment may use.

    Attributes:
        rate: Calls per second, above 0, in the long run.
        burst: Calls at once after a pause, at least 1.
        concurrency: The most calls at a time, at least 1.
    """

    rate: float
    burst: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class GateState:
    """How a gate stands: calls inside, and how many the measured times and failures allow at present."""

    inside: int
    limit: float


class Gate:
    """Lets callers through to one central dependency, at the pace of its budget; any number of processes share it.

    Args:
        what: the dependency's name.
        client: opens a client of the Redis server that keeps the gate.
        budget: what may be used.
    """

    def __init__(self, what: str, client: Client, budget: Budget) -> None:
        self._what = what
        self._client = client
        self._budget = budget
        self._keys = (f"{ROOT}{what}", f"{ROOT}{what}:inside")

    @contextmanager
    def passage(self, patience: float = PATIENCE) -> Iterator[None]:
        """Hold a place for the block, whose duration and failure say how the dependency bears its load.

        Args:
            patience: How long to wait for a place, in seconds.

        Raises:
            CentreBusy: there was none, or the gate's server does not answer.
            CentreFailed: the block raised.
        """
        place = uuid4().hex
        self._enter(place, patience)
        began = time.monotonic()
        took = "failed"
        try:
            yield
            took = f"{time.monotonic() - began:.6f}"
        except Exception as error:
            raise CentreFailed(self._what, str(error)) from error
        finally:
            self._leave(place, took)

    def state(self) -> GateState:
        """How it stands."""
        with self._client() as client:
            limit = client.hget(self._keys[0], "limit")
            return GateState(int(client.zcard(self._keys[1])), float(limit or self._budget.concurrency))

    def _enter(self, place: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        budget = self._budget
        while True:
            wait = float(self._call("enter", place, budget.rate, budget.burst, budget.concurrency, PLACE_LEASE))
            if not wait:
                return
            if time.monotonic() + wait > deadline:
                raise CentreBusy(self._what, wait)
            time.sleep(wait)

    def _leave(self, place: str, took: str) -> None:
        try:
            self._call("leave", place, took, self._budget.concurrency)
        except CentreBusy as silence:
            logger.warning("a place at the gate before %s lapses in %.0f s: %s", self._what, PLACE_LEASE, silence)

    def _call(self, verb: str, *arguments: str | float) -> Any:
        text, digest = _script(verb)
        try:
            with self._client() as client:
                try:
                    return client.evalsha(digest, len(self._keys), *self._keys, *arguments)
                except redis.exceptions.NoScriptError:
                    return client.eval(text, len(self._keys), *self._keys, *arguments)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise CentreBusy(self._what, SILENCE) from error


@cache
def _script(verb: str) -> tuple[str, str]:
    text = (files(__package__) / "lua" / f"{verb}.lua").read_text(encoding="utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
