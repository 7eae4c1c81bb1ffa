"""The trials: a crowd at once, newcomers among the dead, killed workers, flapping members."""

import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import update

from benchmarks.sync_lab import witness
from benchmarks.sync_lab.fleet import Fleet
from partitioning import HashRing, initial_sync_queues
from tasks import app, initial_sync
from tasks.inventory import Subcloud, SyncFailure, SyncState

#: Seconds that a subcloud of the crowd takes.
SHORTEST, LONGEST = 1.0, 3.0
STEPS = ("sync_identity", "distribute_keys", "reset_audit", "enable")


@dataclass
class Figures:
    """What a trial measured, by the name of the figure: measured, and target; both as text."""

    rows: list[tuple[str, str, str]]

    def add(self, what: str, measured: object, target: str = "") -> None:
        """Add a figure."""
        self.rows.append((what, str(measured), target))


class Gauge(threading.Thread):
    """Looks at the broker's keys and memory, and at the workers' memory, while a trial goes on."""

    def __init__(self, fleet: Fleet, every: float = 2.0) -> None:
        super().__init__(name="gauge", daemon=True)
        self._fleet = fleet
        self._every = every
        self._ended = threading.Event()
        self.keys: list[int] = []
        self.broker: list[float] = []
        self.workers: list[float] = []

    def run(self) -> None:
        """Look until told to stop."""
        while not self._ended.wait(self._every):
            with app.broker_client() as client:
                self.keys.append(int(client.dbsize()))
                self.broker.append(int(client.info("memory")["used_memory"]) / 2**20)
            self.workers.append(self._fleet.memory())

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def in_steps(seconds: float) -> dict[str, Any]:
    """The time of a sync, divided among its steps."""
    return {"delay": dict.fromkeys(STEPS, seconds / len(STEPS))}


def lasting(scale: float, seed: int = 7) -> Callable[[int], Mapping[str, Any]]:
    """Subclouds of 1 to 3 s each, times the scale, which read from the centre."""
    drawn = random.Random(seed)  # noqa: S311 - no secret
    return lambda _number: {**in_steps(drawn.uniform(SHORTEST, LONGEST) * scale), "central_reads": True}


def work_of(count: int, scale: float, seed: int = 7) -> float:
    """Seconds of work that so many of these are."""
    drawn = random.Random(seed)  # noqa: S311 - no secret
    return sum(drawn.uniform(SHORTEST, LONGEST) * scale for _ in range(count))


def crowd(fleet: Fleet, figures: Figures, *, count: int, slots: int, workers: int, scale: float) -> float:
    """Thousands requested at once; returns the time against work / slots."""
    witness.swear_in()
    fleet.add(count, "crowd", lasting(scale))
    for number in range(workers):
        fleet.start_worker(f"w{number}@lab", slots // workers)
    fleet.start_beat()
    fleet.until(fleet.assembled, "the workers are members")
    gauge = Gauge(fleet)
    gauge.start()
    began = time.monotonic()
    initial_sync.update_states(None, online=True)
    requested = time.monotonic() - began
    ideal = work_of(count, scale) / slots
    fleet.until(lambda: fleet.completed(count), "all are completed", patience=120 + 5 * ideal)
    took = time.monotonic() - began
    gauge.stop()

    label = f"{count} at once, {workers} worker{'s' if workers > 1 else ''} with {slots} slots"
    figures.add(f"{label}: time against work / slots", f"{took:.1f} s, {took / ideal:.3f}x", "<= 1.15x")
    figures.add("  to request them all", f"{requested:.2f} s")
    sent = witness.requests(fleet.told(), fleet.deaths)
    inside, in_a_second = witness.peak(sent, "read_centre")
    settings = app.settings
    budget = f"<= {settings.centre_concurrency}, <= {settings.centre_burst + settings.centre_rate:g}"
    figures.add("  reads of the centre at a time, in a second", f"{inside}, {in_a_second}", budget)
    twice, together = _not_once(fleet)
    figures.add("  completed other than once, two at once", f"{twice}, {together}", "0, 0")
    figures.add("  keys in the broker, first, most, last", _course(gauge.keys), "flat")
    figures.add("  memory of the broker, MiB", _course(gauge.broker), "flat")
    figures.add("  memory of the workers, MiB", _course(gauge.workers), "flat")
    return took / ideal


def newcomers(fleet: Fleet, figures: Figures, *, dead: int, new: int, slots: int, warm_up: float) -> float:
    """New subclouds while many dead ones are tried again; returns the seconds until all the new ones are done."""
    names = fleet.add(dead, "dead", lambda _number: {"delay": {"probe": 600}}, online=True)
    failed = {"state": SyncState.FAILED, "failure": SyncFailure.UNREACHABLE, "unreachable": 3, "attempts": 3}
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).where(Subcloud.name.in_(names)).values(**failed, next_attempt_at=1.0))
    fleet.start_worker("w0@lab", slots)
    fleet.start_beat()
    fleet.until(lambda: fleet.states("dead")[SyncState.IN_PROGRESS], "dead ones are tried", patience=60)
    time.sleep(warm_up)
    trying = fleet.states("dead")
    names = fleet.add(new, "new", lambda _number: in_steps(1.0))
    began = time.monotonic()
    initial_sync.update_states(names, online=True)
    fleet.until(lambda: fleet.completed(new, "new"), "the new ones are completed", every=0.05)
    took = time.monotonic() - began
    figures.add(f"{new} new ones of 1 s among {dead} dead, {slots} slots", f"{took:.1f} s", "<= 10 s")
    figures.add("  dead ones being tried meanwhile", trying[SyncState.IN_PROGRESS], f"<= {app.settings.sync_retries}")
    return took


def cold(fleet: Fleet, figures: Figures, *, dead: int, new: int, slots: int) -> float:
    """New subclouds among many of which nobody knows yet that they are dead; returns the seconds as above."""
    fleet.add(dead, "dead", lambda _number: {"unreachable": True})
    fleet.add(new, "new", lambda _number: in_steps(1.0))  # their names come last, and so do their messages
    fleet.start_worker("w0@lab", slots)
    fleet.start_beat()
    fleet.until(fleet.assembled, "the worker is a member")
    began = time.monotonic()
    initial_sync.update_states(None, online=True)
    fleet.until(lambda: fleet.completed(new, "new"), "the new ones are completed", every=0.05)
    took = time.monotonic() - began
    label = f"{new} new ones of 1 s requested with, and behind, {dead} that refuse"
    figures.add(label, f"{took:.1f} s", "<= 10 s")
    return took


def massacre(
    fleet: Fleet, figures: Figures, *, count: int, workers: int, slots: int, events: int, every: float
) -> None:
    """Workers are killed and others join, at random, while many syncs run; all but one live when one is killed."""
    witness.swear_in()
    fleet.add(count, "sync", lasting(1.0))
    for number in range(workers):
        fleet.start_worker(f"w{number}@lab", slots)
    fleet.start_beat()
    fleet.until(fleet.assembled, "the workers are members")
    fleet.until(fleet.settled, "the broker declares silent workers dead")
    drawn = random.Random(11)  # noqa: S311 - no secret
    initial_sync.update_states(None, online=True)
    for event in range(events):
        time.sleep(every * drawn.uniform(0.5, 1.5))
        fleet.until(lambda: len(fleet.workers.keys() & fleet.group().members) >= workers - 1, "enough have joined")
        fleet.kill(drawn.choice(sorted(fleet.workers)))
        fleet.start_worker(f"w{workers + event}@lab", slots)
    left = count - fleet.states()[SyncState.COMPLETED]
    fleet.until(lambda: fleet.completed(count), "all are completed", patience=300 + 3 * count / slots)
    twice, together = _not_once(fleet)
    waits = witness.takeovers(witness.changes(), fleet.deaths)
    figures.add(f"{count} syncs through {events} kills and joins: completed other than once", twice, "0")
    figures.add("  still under way after the last kill", left)
    figures.add("  two at once for one subcloud, by the subclouds' journal", together, "0")
    lease = app.settings.sync_lease
    figures.add(f"  {len(waits)} takeovers, s: median, 95 %, longest", _spread(waits), f"<= {lease:g}, the row's lease")


def flapping(fleet: Fleet, figures: Figures, *, count: int, slots: int, flaps: int, every: float) -> None:
    """A member comes and goes while syncs run: it stands still for longer than its lease."""
    witness.swear_in()
    fleet.add(count, "sync", lasting(1.0))
    for number in range(3):
        fleet.start_worker(f"w{number}@lab", slots)
    fleet.start_beat()
    fleet.until(fleet.assembled, "the workers are members")
    epochs = {fleet.group().epoch}
    initial_sync.update_states(None, online=True)
    for _ in range(flaps):
        with fleet.standing_still("w0@lab"):
            fleet.until(lambda: not fleet.assembled(), "the member is missed")
            epochs.add(fleet.group().epoch)
        time.sleep(max(0.0, every - app.settings.member_lease))
    fleet.until(lambda: fleet.completed(count), "all are completed", patience=300)
    twice, together = _not_once(fleet)
    figures.add(f"{flaps} flaps of a member, one in {every:g} s: completed other than once", twice, "0")
    figures.add("  two at once for one subcloud, by the subclouds' journal", together, "0")
    figures.add("  changes of the members that count", len(epochs))


def moves(figures: Figures, queues: int, members: int) -> None:
    """What a join moves: of a hundred thousand subclouds among the members, and of the dedicated queues."""
    keys = [f"subcloud-{number:05d}" for number in range(100_000)]
    worst, astray = 0.0, 0
    for before in range(1, members):
        ring = HashRing([f"worker-{number}@lab" for number in range(before)])
        joined = ring.with_node(f"worker-{before}@lab")
        moved = [key for key in keys if ring.get_node(key) != joined.get_node(key)]
        astray += sum(joined.get_node(key) != f"worker-{before}@lab" for key in moved)
        worst = max(worst, len(moved) / len(keys) * (before + 1))
    figures.add(f"a join among 1 to {members - 1}: keys moved, times (n + 1)", f"{worst:.3f}", "<= 1.15")
    figures.add("  keys that moved elsewhere than to the newcomer", astray, "0")
    fewer, more = (HashRing(initial_sync_queues(number)) for number in (queues, queues + 1))
    moved = [key for key in keys if fewer.get_node(key) != more.get_node(key)]
    share = len(moved) / len(keys) * (queues + 1)
    figures.add(f"one queue more than {queues}: subclouds moved, times (n + 1)", f"{share:.3f}", "<= 1.15")


def _not_once(fleet: Fleet) -> tuple[int, int]:
    counted = witness.completions(witness.changes())
    twice = sum(number != 1 for number in counted.values())
    return twice, len(witness.overlaps(witness.requests(fleet.told(), fleet.deaths)))


def _course(seen: list[Any]) -> str:
    return f"{seen[0]:.0f}, {max(seen):.0f}, {seen[-1]:.0f}" if seen else "too short to see"


def _spread(waits: list[float]) -> str:
    if not waits:
        return "none"
    late = waits[min(len(waits) - 1, int(0.95 * len(waits)))]
    return f"{statistics.median(waits):.1f}, {late:.1f}, {waits[-1]:.1f}"
