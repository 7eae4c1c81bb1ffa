"""What `holders`, `waiters` and `list` tell: plain facts, easy to print and to turn into JSON."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from locking.modes import LockMode


class _Printable:
    def as_dict(self) -> dict[str, Any]:
        """The facts as a dictionary of JSON types."""
        return asdict(self, dict_factory=_json_types)  # type: ignore[call-overload,no-any-return]  # a mix-in of dataclasses only


def _json_types(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value.value if isinstance(value, Enum) else value for key, value in pairs}


@dataclass(frozen=True, slots=True)
class Holder(_Printable):
    """One grant on one name. `age` and `lease_left` are seconds by the store's clock."""

    name: str
    mode: LockMode
    owner: str
    host: str
    pid: int
    task: str | None
    purpose: str
    fence: int
    age: float
    lease_left: float

    def __str__(self) -> str:
        return (
            f"{self.name} is held {self.mode.value} by {_who(self)}"
            f" for {self.age:.1f} s, {_lease(self.lease_left)}{_why(self)}"
        )


@dataclass(frozen=True, slots=True)
class Waiter(_Printable):
    """One request that waits for one name. `position` counts from 0, `age` is the seconds waited so far."""

    name: str
    mode: LockMode
    owner: str
    host: str
    pid: int
    task: str | None
    purpose: str
    priority: int
    position: int
    age: float

    def __str__(self) -> str:
        return f"{_who(self)} has waited {self.age:.1f} s for {self.name} ({self.mode.value}){_why(self)}"


@dataclass(frozen=True, slots=True)
class LockState(_Printable):
    """Everybody on one name: who holds it, and who waits, in order."""

    name: str
    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]


def states(holders: Iterable[Holder], waiters: Iterable[Waiter]) -> list[LockState]:
    """Holders and waiters by their names, sorted; each keeps its order."""
    by_name: dict[str, tuple[list[Holder], list[Waiter]]] = defaultdict(lambda: ([], []))
    for holder in holders:
        by_name[holder.name][0].append(holder)
    for waiter in waiters:
        by_name[waiter.name][1].append(waiter)
    return [LockState(name, tuple(held), tuple(waiting)) for name, (held, waiting) in sorted(by_name.items())]


@dataclass(frozen=True, slots=True)
class Grant(_Printable):
    """A waiting request to which a lock was handed by somebody else's release.

    `request` is its id, `mailbox` the address that was told; without one, whoever released has to see to it.
    """

    request: str
    owner: str
    task: str | None
    mailbox: str


def _who(party: Holder | Waiter) -> str:
    task = f", task {party.task}" if party.task else ""
    return f"{party.owner} (host {party.host}, pid {party.pid}{task})"


def _why(party: Holder | Waiter) -> str:
    return f": {party.purpose}" if party.purpose else ""


def _lease(left: float) -> str:
    return f"{left:.1f} s of its lease left" if left > 0 else "its lease ended, its lock delay runs"


def party(info: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that holders and waiters share, from what a request says of itself."""
    return {
        "host": str(info.get("host", "")),
        "pid": int(info.get("pid", 0)),
        "task": info.get("task"),
        "purpose": str(info.get("purpose", "")),
    }
