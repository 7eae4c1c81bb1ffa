"""Tasks and managers that the workers of the tests load."""

import os
import time
from pathlib import Path

from tasks import LockMode, app, current
from tasks.presence import WORKERS
from tasks.queue_ownership import coordinator_of
from tasks.service import Manager
from tasks.workers import Register

app.conf.broker_transport_options["restart_grace"] = 0  # the suite's broker is younger than the grace after a restart


@app.task
def nap(seconds: float, polite: bool = False) -> int:
    """Take a while, and end early when asked to, if polite."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        if polite and current.should_terminate():
            current.defer(delay=600)
    return os.getpid()


@app.task
def hold(name: str, seconds: float) -> int:
    """Hold a lock for a while, and say when it was had; how often it was had before is in the file's length."""
    with app.runtime.locks.acquire(name, LockMode.EXCLUSIVE, wait=60.0, lease=30.0) as lock:
        with Path(name).open("a") as file:
            file.write(f"{time.time()} {os.getpid()} {lock.fence}\n")
        time.sleep(seconds)
        return lock.fence


class Diary(Manager):
    """Writes down each hook, and what the fleet knows of the worker at that moment."""

    def _note(self, hook: str) -> None:
        known = [seen.name for seen in Register(app).read()]
        members = [member.name for member in coordinator_of(app.settings).view(WORKERS).everyone]
        consumed = app.connection_for_read().default_channel.client.keys("fleetring:q:*:idle")
        with Path("diary").open("a") as file:
            file.write(f"{hook} known={self.host in known} member={self.host in members} idle={bool(consumed)}\n")

    def init_host(self) -> None:
        self._note("init_host")

    def pre_start_hook(self) -> None:
        self._note("pre_start_hook")

    def post_start_hook(self) -> None:
        self._note("post_start_hook")
        self.update_capabilities({"rack": "a1"})

    def cleanup_host(self) -> None:
        self._note("cleanup_host")


class InitFails(Manager):
    def init_host(self) -> None:
        raise SystemExit(0)


class PreStartFails(Manager):
    def pre_start_hook(self) -> None:
        raise ValueError("no rack")


class PostStartFails(Manager):
    def post_start_hook(self) -> None:
        raise ConnectionError("no uplink")
