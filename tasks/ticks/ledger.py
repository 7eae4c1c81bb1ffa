"""The ledger: every question to redbeat's storage, each one script, decided by the server's clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from celery import Celery
from redbeat.schedulers import ensure_conf, get_redis

from tasks.ticks.record import Record
from tasks.ticks.scripts import run

if TYPE_CHECKING:
    from redis import Redis

MICROSECONDS = 1_000_000
#: Entries in one call of a script: few enough not to hold the server up.
BATCH = 200
#: How much of an error is kept.
LONGEST_ERROR = 500
DIED = "ended without a word: its worker died, or it was killed after its time limit"


@dataclass(frozen=True)
class Tick:
    """One due run of a task: its number, and when it was due in epoch seconds of the server's clock."""

    slot: int
    due: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tick as the storage and the messages write it: ``slot due``, due in microseconds."""
        slot, due = text.split(" ")
        return cls(int(slot), int(due) / MICROSECONDS)

    def __str__(self) -> str:
        return f"{self.slot} {round(self.due * MICROSECONDS)}"


@dataclass(frozen=True)
class Entry:
    """A declared task as it is installed; times are seconds.

    `definition` and `meta` are redbeat's JSON. A task that is new runs its first tick `at_once`, and its next boundary
    is `phase` from now.
    """

    name: str
    definition: str
    meta: str
    spacing: float
    jitter: float
    misfire: str
    phase: float
    at_once: bool


@dataclass(frozen=True)
class Pass:
    """What one pass of the leading beat found: the server's time, the next due time, ticks to send, foreign keys."""

    now: float
    next_due: float | None
    unsent: Mapping[str, Tick]
    strangers: Sequence[str]


class Ledger:
    """The storage of one application's periodic tasks; whoever needs it makes one, it holds nothing itself."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    @property
    def _client(self) -> "Redis":
        client: Redis = get_redis(self._app)
        return client

    @property
    def _prefix(self) -> str:
        return str(ensure_conf(self._app).key_prefix)

    def _run(self, verb: str, *arguments: str | float) -> Any:
        return run(self._client, verb, self._prefix, *arguments)

    # -- for beats

    def lead(self, token: str, lease: float) -> bool:
        """Take the lead, or keep it; False while another beat leads. `lease` is in seconds."""
        return bool(self._run("lead", token, _milliseconds(lease)))

    def leave(self, token: str) -> None:
        """Give the lead up."""
        self._run("leave", token)

    def install(self, token: str, lease: float, entries: Iterable[Entry]) -> bool:
        """Install these entries and remove those that were declared before; False when the lead is lost meanwhile."""
        wanted = {entry.name: entry for entry in entries}
        removed = sorted(set(self._client.smembers(f"{self._prefix}:statics")) - wanted.keys())
        changes = [("remove", names) for names in _batches(removed)]
        changes += [("install", _arguments(batch)) for batch in _batches(list(wanted.values()))]
        return all(self._run(verb, token, _milliseconds(lease), *arguments) for verb, arguments in changes)

    def tick(self, token: str, lease: float, most: int, sent: Iterable[tuple[str, Tick, str]]) -> Pass | None:
        """Settle what was sent, as (name, tick, redbeat's meta), and claim what is due; None when the lead is lost."""
        settled = [part for name, tick, meta in sent for part in (name, str(tick), meta)]
        answer = self._run("tick", token, _milliseconds(lease), most, *settled)
        if not answer:
            return None
        now, next_due, unsent, strangers = answer
        pairs = zip(unsent[::2], unsent[1::2], strict=True)
        return Pass(
            now=int(now) / MICROSECONDS,
            next_due=int(next_due) / MICROSECONDS if next_due else None,
            unsent={name: Tick.parse(text) for name, text in pairs},
            strangers=strangers,
        )

    # -- for workers

    def begin(self, name: str, run_id: str, tick: Tick | None) -> bool:
        """Let a run begin, under the task's lock; False when another run covered its tick. None is a run by hand."""
        slot, due = str(tick).split(" ") if tick else ("", "")
        return bool(self._run("begin", name, run_id, slot, due, DIED))

    def finish(self, name: str, run_id: str, error: str | None) -> None:
        """Record how a run ended."""
        self._run("finish", name, run_id, (error or "")[:LONGEST_ERROR])

    def skip(self, name: str, tick: Tick) -> None:
        """Count a tick that came while the run before it was alive."""
        self._run("skip", name, tick.slot)

    # -- for operators

    def pause(self, name: str) -> None:
        """Let no tick of a task be claimed until it is resumed; survives beats and releases."""
        self._client.hset(self._prefix + name, "paused", "1")

    def resume(self, name: str) -> None:
        """Claim the ticks of a task again, from its next boundary on."""
        self._client.hdel(self._prefix + name, "paused")

    def records(self, names: Sequence[str]) -> list[Record]:
        """What is known of these tasks, in the same order."""
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(self._prefix + name)
                pipe.zscore(f"{self._prefix}:schedule", self._prefix + name)
            answers = pipe.execute()
        found = zip(names, answers[::2], answers[1::2], strict=True)
        return [Record.read(name, fields, due) for name, fields, due in found]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _batches(things: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return [things[start : start + BATCH] for start in range(0, len(things), BATCH)]


def _arguments(entries: Iterable[Entry]) -> list[str | float]:
    return [
        part
        for entry in entries
        for part in (
            entry.name, entry.definition, entry.meta,
            round(entry.spacing * MICROSECONDS), entry.jitter, entry.misfire,
            round(entry.phase * MICROSECONDS), int(entry.at_once),
        )
    ]  # fmt: skip
