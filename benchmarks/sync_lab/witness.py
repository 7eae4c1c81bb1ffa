"""Two witnesses of what was synchronised when: the subclouds themselves, and triggers in the database.

Neither is part of what runs the syncs: the fake subclouds write down each request as it begins and ends, whoever sends
it, and the database writes down each change of a row, whoever makes it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import text

from tasks import app
from tasks.inventory import SyncState

_TABLE = "CREATE TABLE witnessed (at REAL, name TEXT, generation INTEGER, state TEXT, claimed_by TEXT)"
_TRIGGER = """
CREATE TRIGGER witness AFTER UPDATE OF state, claimed_by ON subclouds
WHEN OLD.state IS NOT NEW.state OR OLD.claimed_by IS NOT NEW.claimed_by BEGIN
  INSERT INTO witnessed
    VALUES ((julianday('now') - 2440587.5) * 86400.0, NEW.name, NEW.generation, NEW.state, NEW.claimed_by);
END
"""


@dataclass(frozen=True)
class Change:
    """One change of a subcloud's row: when, its generation and state from then on, and who claims it."""

    at: float
    name: str
    generation: int
    state: str
    claimed_by: str | None


@dataclass(frozen=True)
class Request:
    """One request that a subcloud was sent: from when to when, by which process."""

    began: float
    ended: float
    pid: int
    operation: str


def swear_in() -> None:
    """Have the database (SQLite) write down each change from now on."""
    with app.runtime.database.session() as session:
        session.execute(text(_TABLE))
        session.execute(text(_TRIGGER))


def changes() -> dict[str, list[Change]]:
    """What the database has written down, by subcloud, in order."""
    found: dict[str, list[Change]] = defaultdict(list)
    with app.runtime.database.reading() as session:
        for row in session.execute(text("SELECT * FROM witnessed ORDER BY rowid")):
            found[row.name].append(Change(*row))
    return found


def completions(seen: Mapping[str, Sequence[Change]]) -> Counter[tuple[str, int]]:
    """How often each generation of each subcloud was completed."""
    return Counter(
        (change.name, change.generation) for those in seen.values() for change in those
        if change.state == SyncState.COMPLETED
    )  # fmt: skip


def takeovers(seen: Mapping[str, Sequence[Change]], deaths: Mapping[int, float]) -> list[float]:
    """For each sync whose worker was killed, the seconds until the next run began.

    Args:
        seen: what the database has written down.
        deaths: when each killed process died, by its id.
    """
    waits = []
    for those in seen.values():
        runs = [change for change in those if change.state == SyncState.IN_PROGRESS]
        for run, after in pairwise(those):
            died_at = deaths.get(_pid(run.claimed_by), math.nan)
            if run.state == SyncState.IN_PROGRESS and after.at > died_at:
                again = next((later.at for later in runs if later.at >= after.at), math.inf)
                waits.append(again - died_at)
    return sorted(waits)


def requests(told: Iterable[Mapping[str, Any]], deaths: Mapping[int, float]) -> dict[str, list[Request]]:
    """What each subcloud was sent, in order; what a killed process had begun ended with it."""
    open_since: dict[tuple[str, int, str], float] = {}
    found: dict[str, list[Request]] = defaultdict(list)
    for line in told:
        key = (line["subcloud"], line["pid"], line["operation"])
        if line["event"] == "begin":
            if key in open_since:  # twice at once in one process
                found[key[0]].append(Request(open_since[key], line["at"] + 1e-6, *key[1:]))
            open_since[key] = line["at"]
        else:
            found[key[0]].append(Request(open_since.pop(key), line["at"], *key[1:]))
    for (name, pid, operation), began in open_since.items():
        found[name].append(Request(began, deaths.get(pid, math.inf), pid, operation))
    return {name: sorted(those, key=lambda request: request.began) for name, those in found.items()}


def overlaps(sent: Mapping[str, Sequence[Request]]) -> list[tuple[str, Request, Request]]:
    """Where a subcloud was sent something before it had answered what came before."""
    found = []
    for name, those in sent.items():
        last = None
        for request in those:
            if last is not None and request.began < last.ended:
                found.append((name, last, request))
            last = request if last is None or request.ended > last.ended else last
    return found


def peak(sent: Mapping[str, Sequence[Request]], operation: str) -> tuple[int, int]:
    """The most requests of a kind at the same time, and within one second."""
    those = [request for many in sent.values() for request in many if request.operation == operation]
    edges = sorted([(request.began, 1) for request in those] + [(request.ended, -1) for request in those])
    inside = most = 0
    for _, step in edges:
        inside += step
        most = max(most, inside)
    begun = sorted(request.began for request in those)
    in_a_second = max((sum(at <= other < at + 1 for other in begun) for at in begun), default=0)
    return most, in_a_second


def _pid(claimed_by: str | None) -> int:
    return int(claimed_by.split(":")[1]) if claimed_by else 0
