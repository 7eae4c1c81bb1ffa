"""What the storage knows of one periodic task, for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Record:
    """One task: times in epoch seconds of the server's clock, durations in seconds, None where nothing is known.

    `missed` ticks were not claimed in their time, `collapsed` ones joined a tick that waited for a worker, and
    `overlapped` ones came while the run before them was alive.
    """

    name: str
    next_due: float | None
    spacing: float | None
    last_run: float | None
    running: bool
    duration: float | None
    lag: float | None
    last_error: str | None
    paused: bool
    runs: int
    failures: int
    missed: int
    collapsed: int
    overlapped: int

    @classmethod
    def read(cls, name: str, fields: Mapping[str, str], due: float | None, *, paused: bool) -> Self:
        """Read a record from the fields of its hash and its score."""

        def seconds(field: str) -> float | None:
            return int(fields[field]) / MICROSECONDS if field in fields else None

        return cls(
            name=name,
            next_due=due,
            spacing=seconds("spacing"),
            last_run=seconds("started"),
            running="run" in fields and "ended" not in fields,
            duration=seconds("duration"),
            lag=seconds("lag"),
            last_error=fields.get("error") or None,
            paused=paused,
            runs=int(fields.get("runs", 0)),
            failures=int(fields.get("failures", 0)),
            missed=int(fields.get("missed", 0)),
            collapsed=int(fields.get("collapsed", 0)),
            overlapped=int(fields.get("overlapped", 0)),
        )
