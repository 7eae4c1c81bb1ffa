"""Whoever waits for a task that became a dead letter learns of it, and so do those who watch."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from celery.result import AsyncResult

from tasks.transport import DeadLettered, Queues

pytestmark = pytest.mark.system

Wait = Callable[..., Any]
Start = Callable[..., Any]
DEAD = "fleetring:q:actions:dead"


@pytest.fixture
def events(app: Celery) -> Iterator[list[dict[str, Any]]]:
    """What Flower would hear of failures."""
    heard: list[dict[str, Any]] = []
    ready = threading.Event()
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"task-failed": heard.append})
        receiver.on_consume_ready = lambda *_, **__: ready.set()
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": False})
        thread.start()
        assert ready.wait(5)
        yield heard
        receiver.should_stop = True
        thread.join()


def test_who_waits_and_who_watches_learn_of_a_dead_letter_and_a_retry_makes_it_pending_again(
    app: Celery, *, events: list[dict[str, Any]], start_worker: Start, wait_until: Wait
) -> None:
    # Given a worker that gives a task no second chance, and a task that kills its process
    worker = start_worker("-c1", "-E", max_redeliveries=0)
    task = app.send_task("die")

    # When it has done so
    with pytest.raises(DeadLettered, match="SIGKILL"):
        task.get(timeout=10)

    # Then those who watch heard of it
    heard = wait_until(lambda: [event for event in events if event["uuid"] == task.id])
    assert "DeadLettered" in heard[0]["exception"]

    # When an operator retries it while nobody works
    worker.terminate()
    queues = Queues(app.connection_for_write(), app.backend)
    queues.retry_dead(task.id)
    queues.close()

    # Then it waits for another end
    assert AsyncResult(task.id, app=app).state == "PENDING"


def test_an_unknown_task_fails_with_its_name(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait
) -> None:
    # Given a task that no worker knows
    task = app.send_task("no.such.task")

    # When a worker takes it
    start_worker("-c1")

    # Then its caller and its dead letter know the name
    wait_until(lambda: task.state == "FAILURE")
    assert "no.such.task" in str(task.result)
    letter = wait_until(lambda: client.hget(DEAD, task.id))
    assert b"no.such.task" in letter.split(b"\n")[0]
