"""Shows how far initial syncs are: a bar, the rate, the time left, and failures by cause."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from tasks.app import app
from tasks.cli.output import print_rows
from tasks.inventory import SyncState, sync_rows

#: Seconds between two looks.
EVERY = 0.5
#: Names in one look at the database.
PAGE = 10_000


@dataclass
class Summary:
    """How the watched syncs stand; `seconds` is how long they were watched."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    waiting: int = 0
    failures: Counter[str] = field(default_factory=Counter)
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
        super().__init__("")

    def render(self, task: Task) -> Text:
        """The rate, where it is known."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "-/s", style="progress.data.speed")


def watch(generations: Mapping[str, int], *, quiet: bool) -> Summary:
    """Watch syncs until none of them waits or runs, and return how they ended.

    Args:
        generations: the generation of the sync that is watched, for each subcloud.
        quiet: whether nothing is shown.
    """
    began = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(quiet=quiet)) as progress:
        bar = progress.add_task("", total=len(generations))
        while True:
            summary = look(generations)
            progress.update(bar, completed=summary.ended, description=_describe(summary))
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
        case SyncState.NONE:
            summary.cancelled += 1


def _describe(summary: Summary) -> str:
    parts = [f"{summary.running} running" if summary.running or not summary.waiting else "none runs: is a worker up?"]
    parts += [f"{summary.failed} failed ({_causes(summary)})"] if summary.failed else []
    return ", ".join(parts + ([f"{summary.cancelled} cancelled"] if summary.cancelled else []))


def _causes(summary: Summary) -> str:
    return ", ".join(f"{cause} {count}" for cause, count in summary.failures.most_common(3))


def _pages(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[at : at + PAGE] for at in range(0, len(names), PAGE))
