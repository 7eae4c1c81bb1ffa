"""The application of the queues' benchmarks, on our transport or on kombu's own, and workers that run it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from tasks.transport import install

HERE = Path(__file__).parent
URL = os.environ.get("QUEUES_BENCH_URL", "redis://127.0.0.1:1/0")
TASKS_KEY = "fleetring:q:actions:tasks"


def make_app(fleetring: bool, url: str = URL) -> Celery:
    """Build the application whose only difference is the transport."""
    app = Celery("queues", broker=url, amqp="tasks.transport:AMQP" if fleetring else None, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_default_queue="actions",
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
    )
    if fleetring:
        install(app)
    app.task(name="nothing")(nothing)
    app.task(name="stamp")(stamp)
    app.task(name="hold")(hold)
    return app


def nothing() -> None:
    """Do nothing."""


def stamp() -> None:
    """Note the time of the start."""
    client = redis.Redis.from_url(URL)
    client.rpush("stamps", time.time())
    client.close()


def hold(starts: str) -> None:
    """Note the time of the start; the first time, never end."""
    client: Any = redis.Redis.from_url(URL)
    if client.rpush(starts, time.time()) == 1:
        time.sleep(600)


app = make_app(os.environ.get("QUEUES_BENCH_STOCK") != "1")


@contextmanager
def worker(url: str, fleetring: bool, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker, with two processes unless the arguments say otherwise."""
    environment = os.environ | {
        "QUEUES_BENCH_URL": url,
        "QUEUES_BENCH_STOCK": "0" if fleetring else "1",
        "PYTHONPATH": f"{HERE}:{HERE.parent}",
    }
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "_queue_app", "worker", "-c2", "-l", "ERROR"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(  # noqa: S603 - our own command line
        [*command, "--without-gossip", "--without-mingle", *arguments],
        env=environment,
        cwd=HERE,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,  # so that it can be stopped with its processes
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def waiting(client: Any, fleetring: bool) -> int:
    """Count tasks that are not done."""
    left: int = client.hlen(TASKS_KEY) if fleetring else client.llen("actions") + client.hlen("unacked")
    return left
