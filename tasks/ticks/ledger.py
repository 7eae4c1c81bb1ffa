"""The ledger: every question to redbeat's storage, each one script, decided by the server's clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

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
#: For so many seconds after its last pass a worker's own schedule is remembered, and what is known of its runs.
WORKER_REMEMBERED = 3600.0
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

    `definition` and `meta` are redbeat's JSON. The next boundary of a task that is new is `phase` from now; its first
    tick is due now where `at_once` says so, for a ``new`` task or for ``always`` any.
    """

    name: str
    definition: str
    meta: str
    spacing: float
    jitter: float
    misfire: str
    phase: float
    at_once: Literal["new", "always", "never"]


@dataclass(frozen=True)
class Pass:
    """What one pass of whoever leads found: the server's time, the next due time, ticks to send, foreign keys."""

    now: float
    next_due: float | None
    unsent: Mapping[str, Tick]
    strangers: Sequence[str]


class Ledger:
    """One schedule in the storage of an application; whoever needs it makes one, it holds nothing itself.

    Args:
        app: the application.
        worker: the worker whose own schedule it is, for the scopes in which each worker has one. Defaults to the
            schedule of the whole deployment, which beats lead.
    """

    def __init__(self, app: Celery, worker: str = "") -> None:
        self._app = app
        self._worker = worker

    @property
    def _client(self) -> "Redis":
        client: Redis = get_redis(self._app)
        return client

    @property
    def _storage(self) -> str:
        return str(ensure_conf(self._app).key_prefix)

    @property
    def _prefix(self) -> str:
        return self._prefix_of(self._worker) if self._worker else self._storage

    def _prefix_of(self, worker: str) -> str:
        return f"{self._storage}worker:{worker}:"

    @property
    def _lifetime(self) -> int:
        return _milliseconds(WORKER_REMEMBERED) if self._worker else 0

    def _run(self, verb: str, *arguments: str | float) -> Any:
        return run(self._client, verb, (self._prefix, self._storage), *arguments)

    # -- for whoever leads: a beat, or the worker whose schedule it is

    def lead(self, token: str, lease: float, *, by_force: bool = False) -> bool:
        """Take the lead, or keep it; False while another has it. `lease` is in seconds."""
        return bool(self._run("lead", token, _milliseconds(lease), int(by_force)))

    def leave(self, token: str) -> None:
        """Give the lead up."""
        self._run("leave", token)

    def install(self, token: str, lease: float, entries: Iterable[Entry]) -> bool:
        """Install these entries and remove those that were declared before; False when the lead is lost meanwhile."""
        wanted = {entry.name: entry for entry in entries}
        removed = sorted(set(self._client.smembers(f"{self._prefix}:statics")) - wanted.keys())
        changes = [("remove", names) for names in _batches(removed)]
        batches = _batches(list(wanted.values()))
        changes += [("install", [self._lifetime, *_arguments(batch)]) for batch in batches]
        return all(self._run(verb, token, _milliseconds(lease), *arguments) for verb, arguments in changes)

    def tick(self, token: str, lease: float, most: int, sent: Iterable[tuple[str, Tick, str]]) -> Pass | None:
        """Settle what was sent, as (name, tick, redbeat's meta), and claim what is due; None when the lead is lost."""
        settled = [part for name, tick, meta in sent for part in (name, str(tick), meta)]
        answer = self._run("tick", token, _milliseconds(lease), self._lifetime, self._worker, most, *settled)
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
        """Let no tick of a task be claimed in any schedule until it is resumed; survives beats and releases."""
        self._client.sadd(f"{self._storage}:paused", name)

    def resume(self, name: str) -> None:
        """Claim the ticks of a task again, from its next boundary on."""
        self._client.srem(f"{self._storage}:paused", name)

    def forget_pauses(self, declared: Iterable[str]) -> None:
        """Forget the pauses of tasks that nobody declares any more."""
        if gone := self._paused() - set(declared):
            self._client.srem(f"{self._storage}:paused", *gone)

    def _paused(self) -> set[str]:
        return set(map(str, self._client.smembers(f"{self._storage}:paused")))

    def workers(self, *, alive: bool = True) -> list[str]:
        """The workers that lead schedules of their own now, sorted; or all that did within the last hour."""
        names = sorted(map(str, self._client.zrange(f"{self._storage}:workers", 0, -1)))
        if not alive:
            return names
        leads = self._client.mget([f"{self._prefix_of(name)}:lock" for name in names]) if names else []
        return [name for name, token in zip(names, leads, strict=True) if token]

    def records(self, names: Sequence[str]) -> list[Record]:
        """What is known of these tasks in this schedule, in the same order."""
        paused = self._paused()
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(self._prefix + name)
                pipe.zscore(f"{self._prefix}:schedule", self._prefix + name)
            answers = pipe.execute()
        found = zip(names, answers[::2], answers[1::2], strict=True)
        return [Record.read(name, fields, due, paused=name in paused) for name, fields, due in found]


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
            round(entry.phase * MICROSECONDS), entry.at_once,
        )
    ]  # fmt: skip
