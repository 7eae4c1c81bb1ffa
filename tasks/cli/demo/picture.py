"""The demo's live picture, and the plain lines that stand for it where there is no terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

#: The states of an action, in the order in which the picture shows them.
COLOURS = {
    "queued": "dim",
    "running": "cyan",
    "waiting for a lock": "yellow",
    "succeeded": "green",
    "failed": "red",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fleet at one moment."""

    actions: Mapping[str, Mapping[str, int]]
    """How many actions are in each state, by action."""
    subclouds: Mapping[str, int]
    """How many subclouds are in each state."""
    holders: Sequence[tuple[str, ...]] = field(default_factory=list)
    """Name, mode and purpose of every lock that is held."""
    waiters: Sequence[tuple[str, ...]] = field(default_factory=list)
    """Target and action of everything that waits for a lock."""
    queues: Mapping[str, int] = field(default_factory=dict)
    """How many tasks are in each queue."""

    @property
    def total(self) -> int:
        """How many actions and syncs there are."""
        return sum(map(sum, (states.values() for states in self.actions.values()))) + sum(self.subclouds.values())

    @property
    def done(self) -> int:
        """How many actions and syncs have ended, well or not."""
        ended = sum(states.get("succeeded", 0) + states.get("failed", 0) for states in self.actions.values())
        return ended + self.subclouds.get("completed", 0)


class Picture:
    """Draws snapshots for rich's ``Live``."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            expand=True,
        )
        self._bar = self._progress.add_task("actions and syncs", total=None)

    def draw(self, snapshot: Snapshot) -> RenderableType:
        """Return the picture of a snapshot."""
        self._progress.update(self._bar, completed=snapshot.done, total=snapshot.total)
        return Group(
            Columns(
                [
                    Panel(_actions(snapshot.actions), title="actions", border_style="blue"),
                    _panel("subclouds", ("initial sync", ""), _as_rows(snapshot.subclouds)),
                    _panel("queues", ("queue", "waiting"), _as_rows(snapshot.queues)),
                ]
            ),
            Columns(
                [
                    _panel("who holds", ("lock", "mode", "purpose"), snapshot.holders),
                    _panel("who waits for a lock", ("node", "action"), snapshot.waiters),
                ]
            ),
            self._progress,
        )


def _actions(actions: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("", *(f"[{colour}]{state}" for state, colour in COLOURS.items()))
    for name, states in actions.items():
        table.add_row(f"[bold]{name}", *(str(states[state]) if states.get(state) else "·" for state in COLOURS))
    return table


def _as_rows(counts: Mapping[str, int]) -> list[tuple[str, ...]]:
    return [(name, str(number)) for name, number in counts.items()]


def _panel(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]], most: int = 8) -> Panel:
    table = Table(*header, box=None, header_style="dim", pad_edge=False)
    for row in rows[:most]:
        table.add_row(*row)
    if len(rows) > most:
        table.add_row(f"and {len(rows) - most} more")
    return Panel(table, title=title, border_style="blue")


def plain_line(snapshot: Snapshot) -> str:
    """Return one line that says what the picture would show."""
    parts = [f"{name} {_counts(states)}" for name, states in snapshot.actions.items()]
    parts.append(f"initial sync {_counts(snapshot.subclouds)}")
    return f"{snapshot.done}/{snapshot.total} done; " + "; ".join(parts)


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(states.items()) if number)
