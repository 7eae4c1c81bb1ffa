"""Shows how far initial syncs are: a bar, the rate, the time left, and failures by cause."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from tasks.app import app
from tasks.cli.output import print_rows
from tasks.inventory import SyncFailure, SyncState, sync_rows

#: Seconds between two looks.
EVERY = 0.5
#: What puts a sync off that then waits to be tried again.
PUT_OFF_BY = (SyncFailure.CENTRE, SyncFailure.WORKER_STUCK)
#: Names in one look at the database.
PAGE = 10_000


@dataclass
class Summary:
    """How the watched syncs stand.

    Attributes:
        completed: How many are done.
        failed: How many failed, each of which is tried again later, or parked.
        cancelled: How many were called off, or belong to subclouds that are no more.
        running: How many run.
        waiting: How many wait, those that were put off too.
        failures: How many failed, by cause.
        put_off: How many were put off through no fault of their subcloud, by cause.
        seconds: How long they were watched.
    """

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    waiting: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    put_off: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """How many have come to an end, for now."""
        return self.completed + self.failed + self.cancelled

    def facts(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        rate = self.ended / self.seconds if self.seconds else 0.0
        numbers = {"completed": self.completed, "failed": self.failed, "cancelled": self.cancelled}
        return {**numbers, "failures": dict(self.failures), "seconds": round(self.seconds, 3), "rate": round(rate, 3)}


class _Rate(TextColumn):
    """Syncs per second."""

    def __init__(self) -> None:
        super().__init__("", table_column=_whole())

    def render(self, task: Task) -> Text:
        """The rate, where it is known."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "-/s", style="progress.data.speed")


class _Left(TimeRemainingColumn):
    """The time that is left."""

    def __init__(self) -> None:
        super().__init__(table_column=_whole())


def _whole() -> Column:
    return Column(no_wrap=True, overflow="ignore")


def watch(generations: Mapping[str, int], *, quiet: bool) -> Summary:
    """Watch syncs until none of them waits or runs, and return how they ended.

    Args:
        generations: the generation of the sync that is watched, for each subcloud.
        quiet: whether nothing is shown.
    """
    began = time.monotonic()
    said = TextColumn("{task.description}", table_column=Column(ratio=1))  # it wraps where the others stay whole
    columns = (BarColumn(20, table_column=_whole()), MofNCompleteColumn(table_column=_whole()), _Rate(), _Left(), said)
    with Progress(*columns, console=Console(quiet=quiet), expand=True) as progress:
        bar = progress.add_task("", total=len(generations))
        while True:
            summary = look(generations)
            progress.update(bar, completed=summary.ended, description=describe(summary))
            if summary.ended == len(generations):
                break
            time.sleep(EVERY)
    summary.seconds = time.monotonic() - began
    if summary.failures and not quiet:
        causes = [{"cause": cause, "subclouds": count} for cause, count in summary.failures.most_common()]
        print_rows(
            f"{summary.failed} failed; `fleetring subclouds list --state failed` says why", causes, as_json=False
        )
    return summary


def look(generations: Mapping[str, int]) -> Summary:
    """How the syncs stand now."""
    summary = Summary(cancelled=len(generations))  # until it is seen, a subcloud is thought to be deleted
    with app.runtime.database.reading() as session:
        for page in _pages(list(generations)):
            for name, generation, state, failure in sync_rows.standing(session, page):
                if generation == generations[name]:
                    summary.cancelled -= 1
                    _count(summary, state, failure)
    return summary


def _count(summary: Summary, state: SyncState, failure: str | None) -> None:
    match state:
        case SyncState.COMPLETED:
            summary.completed += 1
        case SyncState.FAILED:
            summary.failed += 1
            summary.failures[failure or "unknown"] += 1
        case SyncState.IN_PROGRESS:
            summary.running += 1
        case SyncState.REQUESTED:
            summary.waiting += 1
            if failure in PUT_OFF_BY:
                summary.put_off[str(failure)] += 1
        case SyncState.NONE:
            summary.cancelled += 1


def describe(summary: Summary) -> str:
    """What a line says of syncs that are watched."""
    nobody = summary.waiting > summary.put_off.total() and not summary.running
    parts = [
        "none runs: is a worker up?" if nobody else f"{summary.running} running",
        _told(summary.put_off.total(), "put off", summary.put_off),
        _told(summary.failed, "failed", summary.failures),
        _told(summary.cancelled, "cancelled", Counter()),
    ]
    return ", ".join(filter(None, parts))


def _told(number: int, what: str, causes: Counter[str]) -> str:
    named = ", ".join(f"{cause} {count}" for cause, count in causes.most_common(3))
    return f"{number} {what}" + (f" ({named})" if named else "") if number else ""


def _pages(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[at : at + PAGE] for at in range(0, len(names), PAGE))
