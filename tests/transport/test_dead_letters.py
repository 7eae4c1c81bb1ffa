"""Whoever waits for a task that became a dead letter learns of it, and so do those who watch."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery, chain, chord
from celery.exceptions import ChordError
from celery.result import AsyncResult

from tasks.transport import DeadLettered, Queues

pytestmark = pytest.mark.system

Wait = Callable[..., Any]
Start = Callable[..., Any]
Journal = Callable[..., list[str]]
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
        task.get(timeout=60)

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


def test_a_dead_letter_whose_finder_died_before_it_told_of_it_is_told_by_another_worker(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait
) -> None:
    # Given a task that somebody made a dead letter, and then was gone, some time ago
    task = app.send_task("add", args=[1, 2])
    with app.connection_for_read() as connection:
        connection.default_channel.basic_get("actions").reject()
    assert task.state == "PENDING"
    client.zadd("fleetring:untold", {task.id: 1})

    # When a worker is there
    start_worker("-c1")

    # Then the caller is told, once
    with pytest.raises(DeadLettered, match="it was rejected"):
        task.get(timeout=60)
    wait_until(lambda: not client.exists("fleetring:untold"))


def test_the_rest_of_a_chain_and_of_a_chord_fails_with_a_dead_letter(app: Celery, start_worker: Start) -> None:
    # Given the first task of a chain, and one of a chord, that become dead letters
    leave, add = app.signature("throw", args=["SystemExit"]), app.signature("add", args=[1, 2], immutable=True)
    last_of_chain = chain(leave, add).apply_async()
    body_of_chord = chord([leave.clone(), add], app.signature("total")).apply_async()

    # When a worker has taken them
    start_worker("-c1", "-P", "threads")

    # Then whoever waits for the end learns of it
    with pytest.raises(DeadLettered, match="SystemExit"):
        last_of_chain.get(timeout=60)
    outcome = body_of_chord.get(timeout=20, propagate=False)
    assert isinstance(outcome, ChordError)
    assert "DeadLettered" in str(outcome)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_whatever_a_task_raises_its_caller_is_told_and_the_worker_goes_on(
    app: Celery, start_worker: Start, journal: Journal, pool: str
) -> None:
    # Given a worker with one slot
    start_worker("-c1", "-P", pool)

    # When a task ends its process or thread, and another one lacks memory
    ends, lacks = app.send_task("throw", args=["SystemExit"]), app.send_task("throw", args=["MemoryError"])

    # Then the first is a dead letter that ran once, the second has failed, and the worker takes the next one
    with pytest.raises(DeadLettered, match="ended its process: SystemExit"):
        ends.get(timeout=60)
    with pytest.raises(MemoryError):
        lacks.get(timeout=60)
    assert app.send_task("add", args=[1, 2]).get(timeout=60) == 3
    assert journal("started") == [ends.id, lacks.id]


def test_a_slot_whose_process_a_task_has_ended_works_again_soon(app: Celery, start_worker: Start) -> None:
    # Given a worker with one process, which tasks end; billiard notices that at times, else within five seconds
    start_worker("-c1")
    pauses = []
    for _ in range(3):
        leaver = app.send_task("throw", args=["SystemExit"])
        with pytest.raises(DeadLettered):
            leaver.get(timeout=20)

        # When another task comes
        began = time.monotonic()
        assert app.send_task("add", args=[1, 2]).get(timeout=20) == 3
        pauses.append(time.monotonic() - began)

    # Then a new process runs it
    assert min(pauses) < 3


def test_a_task_that_runs_out_of_memory_fails_and_its_worker_goes_on(app: Celery, start_worker: Start) -> None:
    # Given a worker
    start_worker("-c1")

    # When a task asks for more memory than its process may have
    hungry = app.send_task("exhaust")

    # Then it fails with what happened, and the next one runs
    with pytest.raises(MemoryError):
        hungry.get(timeout=20)
    assert app.send_task("add", args=[1, 2]).get(timeout=20) == 3
