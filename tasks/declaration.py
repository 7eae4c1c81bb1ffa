"""What a periodic task declares, checked as early as it can be, and what beat makes of it when it starts."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Literal, TypeAlias, TypeVar

from tasks.errors import InvalidPeriodicTask
from tasks.settings import EXTERNAL_QUEUE, PERIODIC_QUEUE, Settings


class Scope(StrEnum):
    """Who runs a tick."""

    CLUSTER = "cluster"
    """One worker of the deployment; beat sends it."""
    EACH_WORKER = "each_worker"
    """Every worker has ticks of its own, and sends them to itself."""
    PARTITIONED = "partitioned"
    """Likewise, in the workers that consume the task's queue; each works on its share of a set."""


#: A tick that comes while the run before it is alive is skipped, or waits for it.
Overlap = Literal["forbid", "queue"]
#: A tick that could not be sent for more than a minute is left out, or sent once late.
Misfire = Literal["skip", "once"]

#: Beat looks at its schedule at least this often.
SHORTEST_SPACING = 1.0
#: With more jitter than this, a part of the spacing, one could no longer speak of a spacing.
LARGEST_JITTER = 0.5

Value = TypeVar("Value")
#: An option that may also be a callable without arguments, asked when a beat starts to lead.
Later: TypeAlias = Value | Callable[[], Value]


@dataclass(frozen=True)
class Declaration:
    """The options of one periodic task; those that are callables are asked when a beat starts to lead."""

    name: str
    spacing: Later[float] = 60
    run_immediately: Later[bool] = False
    enabled: Later[bool] = True
    external_process_ok: Later[bool] = False
    jitter: float = 0.05
    timeout: float | None = None
    overlap: Overlap = "forbid"
    misfire: Misfire = "skip"
    scope: Scope = Scope.CLUSTER
    of: Callable[[], Iterable[Any]] | None = None

    def __post_init__(self) -> None:
        if not callable(self.spacing):
            self._check_spacing(self.spacing)
        for option in ("run_immediately", "enabled", "external_process_ok"):
            value = getattr(self, option)
            self._require(callable(value) or isinstance(value, bool), f"{option} True, False or a callable", value)
        fits = _is_number(self.jitter) and 0 <= self.jitter <= LARGEST_JITTER
        self._require(fits, f"a jitter from 0 to {LARGEST_JITTER} of its spacing", self.jitter)
        fits = self.timeout is None or (_is_number(self.timeout) and self.timeout > 0)
        self._require(fits, "a timeout above 0 s, or none", self.timeout)
        self._require(self.overlap in ("forbid", "queue"), "overlap 'forbid' or 'queue'", self.overlap)
        self._require(self.misfire in ("skip", "once"), "misfire 'skip' or 'once'", self.misfire)
        scopes = ", ".join(repr(str(scope)) for scope in Scope)
        self._require(self.scope in tuple(Scope), f"a scope of {scopes}", self.scope)
        object.__setattr__(self, "scope", Scope(self.scope))
        self._require(self.of is None or callable(self.of), "of= a callable that returns the set", self.of)
        self._require(
            (self.of is None) == (self.scope is not Scope.PARTITIONED),
            "scope='partitioned' and of= together: a set is what is partitioned",
            f"scope={str(self.scope)!r} and of={self.of!r}",
        )

    def _check_spacing(self, spacing: float) -> float:
        fits = _is_number(spacing) and (spacing <= 0 or spacing >= SHORTEST_SPACING)
        self._require(fits, f"a spacing of {SHORTEST_SPACING:g} s or more, 0 for every base tick", spacing)
        return float(spacing)

    def _require(self, fits: bool, wanted: str, value: object) -> None:
        if not fits:
            raise InvalidPeriodicTask(f"periodic task {self.name} needs {wanted}, not {value!r}")

    @property
    def queue(self) -> str:
        """The queue that the task is sent to."""
        return EXTERNAL_QUEUE if self._ask("external_process_ok") else PERIODIC_QUEUE

    @property
    def time_limits(self) -> Mapping[str, float]:
        """Celery's options that end a run: at the timeout by an exception, 10 s later by a kill."""
        return {} if self.timeout is None else {"soft_time_limit": self.timeout, "time_limit": self.timeout + 10}

    def effective_spacing(self, settings: Settings) -> float:
        """Return the seconds from one run to the next; below 0 for never.

        Raises:
            InvalidPeriodicTask: a callable answered what cannot work.
        """
        spacing = self._check_spacing(self.spacing() if callable(self.spacing) else self.spacing)
        return settings.base_tick if spacing == 0 else spacing

    def objection(self, settings: Settings) -> str | None:
        """Say why the task is not scheduled; None when it is.

        Raises:
            InvalidPeriodicTask: a callable answered what cannot work.
        """
        if self.effective_spacing(settings) < 0:
            return "its interval is negative"
        if not self._ask("enabled"):
            return "it is disabled"
        if self._ask("external_process_ok") and not settings.run_external_periodic_tasks:
            return "it runs in an external process"
        return None

    def at_once(self) -> bool:
        """Whether a task that is new runs at once."""
        return self._ask("run_immediately")

    def _ask(self, option: str) -> bool:
        value = getattr(self, option)
        return bool(value() if callable(value) else value)

    def phase(self, spacing: float) -> float:
        """Draw how long a new task's first boundary is away, so that tasks installed together spread.

        Anywhere in the coming spacing; in its second half for a task that runs at once.
        """
        return random.uniform(spacing / 2 if self.at_once() else 0.0, spacing)  # noqa: S311 - spreads load


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
