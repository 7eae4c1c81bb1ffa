"""The answer to "why": what something is, what it waits for, who waits behind it, and what comes next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["task", "node", "subcloud"]

Code = Literal[
    "running",
    "lock",
    "paused",
    "no-worker",
    "not-due",
    "slots-busy",
    "limit",
    "drained",
    "worker-lost",
    "quiesced",
    "order",
    "turn",
    "starting",
    "finished",
    "failed",
    "cancelled",
    "dead-letter",
    "hold-off",
    "not-requested",
    "maintenance",
    "free",
]
"""The causes by name; programs tell them apart by these, people by their texts."""


@dataclass(frozen=True)
class Cause:
    """One reason why something is where it is.

    Attributes:
        code: which kind of reason.
        text: a sentence.
        since: since when, in epoch seconds; None when nobody knows.
        until: when it ends by itself, in epoch seconds; None when it does not.
        details: the facts behind it, in JSON's types.
    """

    code: Code
    text: str
    since: float | None = None
    until: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Behind:
    """Somebody who waits behind what was asked for."""

    text: str
    task: str | None = None
    age: float | None = None


@dataclass(frozen=True)
class Subject:
    """One thing that has the name that was asked for.

    Attributes:
        kind: what it is.
        name: its own full name or id.
        what: a sentence on what it is and does.
        state: where it stands, in the words of its kind.
        causes: why; the first is what holds it now, the others would hold it next.
        behind: who waits behind it, in order; the first few.
        behind_count: how many there are in all.
        next: what happens next, and on what condition.
        next_at: when, in epoch seconds, where that is known.
    """

    kind: Kind
    name: str
    what: str
    state: str
    causes: tuple[Cause, ...]
    behind: tuple[Behind, ...] = ()
    behind_count: int = 0
    next: str = ""
    next_at: float | None = None

    @property
    def cause(self) -> Cause:
        """The true cause: what holds it now."""
        return self.causes[0]


@dataclass(frozen=True)
class Report:
    """What is known of a name, at one moment (`at`, epoch seconds): of everything that has this name."""

    name: str
    at: float
    subjects: tuple[Subject, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report in JSON's types."""
        return asdict(self)
