"""A small Celery application on the transport; worker processes load it by its name."""

import builtins
import json
import os
import resource
import signal
import time
from typing import Any

from celery import Celery, Task

from tasks.transport import Parked, install


def make_app(url: str, **options: Any) -> Celery:
    """Build the application on the broker `url`; `options` are transport options."""
    backend = url if url.startswith("redis://") else None
    app = Celery("queue_app", broker=url, backend=backend, amqp="tasks.transport:AMQP", set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"lease": 2.0, "heartbeat": 0.25, **options},
        result_expires=60,
        task_acks_late=True,
        task_default_queue="actions",
        task_reject_on_worker_lost=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_lost_wait=0.3,
        worker_prefetch_multiplier=1,
    )
    install(app)
    for function in (add, record, sleep, die, throw, exhaust, fail_twice, total, park_once):
        app.task(function, name=function.__name__, bind=True)
    return app


def note(task: Task[..., Any], event: str) -> None:
    """Write into the database that `task` has come so far."""
    with task.app.connection_for_write() as connection, connection.default_channel.conn_or_acquire() as client:
        client.rpush("journal", json.dumps([event, task.request.id, os.getpid()]))


def add(self: Task[..., Any], x: int, y: int) -> int:
    return x + y


def park_once(self: Task[..., Any], reason: str, seconds: float = 0) -> str:
    """Park itself after a while, unless it was parked before."""
    note(self, "started")
    time.sleep(seconds)
    with self.app.connection_for_write() as connection, connection.default_channel.conn_or_acquire() as client:
        if client.incr(f"runs:{self.request.id}") == 1:
            raise Parked(f"parked: {reason}", exc=RuntimeError(reason))
    return "done"


def total(self: Task[..., Any], numbers: list[int]) -> int:
    return sum(numbers)


def record(self: Task[..., Any], word: Any = None) -> Any:
    note(self, "ran")
    return word


def sleep(self: Task[..., Any], seconds: float) -> float:
    note(self, "started")
    time.sleep(seconds)
    note(self, "ended")
    return seconds


def die(self: Task[..., Any]) -> None:
    note(self, "started")
    os.kill(os.getpid(), signal.SIGKILL)


def throw(self: Task[..., Any], error: str) -> None:
    note(self, "started")
    raise getattr(builtins, error)


def exhaust(self: Task[..., Any]) -> None:
    """Ask for more memory than the process may have from now on."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, before[1]))
    try:
        bytearray(2**31)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def fail_twice(self: Task[..., Any]) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return int(self.request.retries)


app = make_app(
    os.environ.get("QUEUE_APP_URL", "redis://127.0.0.1:1/0"), **json.loads(os.environ.get("QUEUE_APP_OPTIONS", "{}"))
)
