"""Everything of Celery goes on working on the transport, in each pool."""

import signal
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import redis
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError

pytestmark = pytest.mark.system

Wait = Callable[..., Any]
Journal = Callable[..., list[str]]
Start = Callable[..., Any]
POOLS = {"prefork": ("-c2",), "threads": ("-P", "threads", "-c2"), "solo": ("-P", "solo")}


@pytest.mark.parametrize("pool", POOLS)
def test_canvas_retries_and_remote_control_work(app: Celery, start_worker: Start, pool: str) -> None:
    # Given a worker with the pool
    start_worker(*POOLS[pool])
    add, total, fail_twice = (app.tasks[name] for name in ("add", "total", "fail_twice"))

    # When tasks are sent in every form
    chained = chain(add.s(1, 2), add.s(3), add.s(4))()
    grouped = group(add.s(i, i) for i in range(5))()
    joined = chord((add.s(i, i) for i in range(4)), total.s())()
    retried = fail_twice.delay()

    # Then each gives its result, and the worker answers questions
    assert chained.get(timeout=60) == 10
    assert grouped.get(timeout=60) == [0, 2, 4, 6, 8]
    assert joined.get(timeout=60) == 12
    assert retried.get(timeout=60) == 2
    assert list(app.control.inspect(timeout=0.7).ping()) == ["w0@test"]
    assert all(app.control.inspect(timeout=5, limit=1).ping() for _ in range(10))


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_longer_than_the_lease_runs_once(
    app: Celery, client: redis.Redis, start_worker: Start, journal: Journal, pool: str
) -> None:
    # Given two workers, and a lease of less than a second
    for wait in (False, True):
        start_worker(*POOLS[pool], wait=wait, lease=0.75)

    # When a task takes twice as long
    task = app.send_task("sleep", args=[1.6])
    task.get(timeout=60)

    # Then it was started once
    assert journal("started") == [task.id]


@pytest.mark.parametrize("pool", POOLS)
def test_a_warm_shutdown_ends_the_running_task_and_returns_the_waiting_ones(
    app: Celery, *, client: redis.Redis, start_worker: Start, wait_until: Wait, journal: Journal, pool: str
) -> None:
    # Given a worker that runs a task longer than its lease while others wait, and a second worker
    worker = start_worker(*POOLS[pool], lease=0.75)
    running = app.send_task("sleep", args=[1.6])
    wait_until(lambda: running.id in journal("started"))
    start_worker("-c1", lease=0.75)

    # When it is asked to end
    worker.terminate()

    # Then the running task ended, once, and nothing is held any more
    assert journal("ended") == [running.id]
    waiting = app.send_task("record")
    assert waiting.get(timeout=60) is None
    assert journal("started") == [running.id]
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))


def test_tasks_start_by_priority_then_by_arrival(
    app: Celery, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given tasks of many priorities, queued before any worker is there
    priorities = [0, 10, -20, 5, 0, 10_267_659, -3, 0, -20, 2**53, -(2**53)]
    sent = [(priority, i, app.send_task("record", priority=priority).id) for i, priority in enumerate(priorities)]

    # When one worker with one slot takes them
    start_worker("-c1")
    wait_until(lambda: len(journal()) == len(priorities))

    # Then they ran by priority, equals by arrival
    assert journal() == [task_id for _, _, task_id in sorted(sent)]


def test_a_revoked_task_does_not_run(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given a worker that was told to drop a task that is delayed
    start_worker("-c1")
    task = app.send_task("record", countdown=0.7)
    app.control.revoke(task.id)

    # When it becomes due
    with pytest.raises(TaskRevokedError):
        task.get(timeout=60)

    # Then it did not run, and is gone
    assert journal() == []
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))


def test_a_time_limit_ends_a_task(app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait) -> None:
    # Given a task with a hard limit of a second
    start_worker("-c1")
    task = app.send_task("sleep", args=[20], time_limit=1)

    # When it runs longer
    with pytest.raises(Exception, match="TimeLimitExceeded"):
        task.get(timeout=60)

    # Then it is settled
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))


def test_a_cold_shutdown_returns_the_running_task_at_once(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given a worker that runs a long task
    worker = start_worker("-c1", lease=10.0)
    task = app.send_task("sleep", args=[3])
    wait_until(lambda: journal("started") == [task.id])

    # When it is told to end at once
    worker.signal(signal.SIGQUIT)
    worker.process.wait(20)

    # Then the task waits again, and runs on another worker without waiting for the lease
    started = time.monotonic()
    start_worker("-c1")
    wait_until(lambda: len(journal("started")) == 2)
    assert time.monotonic() - started < 8


def test_an_autoscaled_worker_grows_and_runs_everything(app: Celery, start_worker: Start) -> None:
    # Given a worker that may grow from one to four processes
    start_worker("--autoscale=4,1")

    # When more tasks come than one process can run
    tasks = [app.send_task("sleep", args=[1.5]) for _ in range(4)]
    started = time.monotonic()
    for task in tasks:
        task.get(timeout=60)

    # Then they ran side by side
    assert time.monotonic() - started < 5


def test_queues_can_be_added_and_cancelled_while_a_worker_runs(
    app: Celery, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given a worker on the default queue
    start_worker("-c1")

    # When it is told to consume another queue
    wait_until(lambda: app.control.add_consumer("other", reply=True, timeout=0.7))

    # Then that queue's tasks run, until it is told not to
    assert app.send_task("add", args=[1, 2], queue="other").get(timeout=60) == 3
    app.control.cancel_consumer("other", reply=True, timeout=0.7)
    stranded = app.send_task("record", queue="other")
    assert app.send_task("add", args=[1, 2]).get(timeout=60) == 3
    assert stranded.id not in journal()


def test_the_transport_of_an_idle_worker_sends_less_than_a_command_a_second(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait
) -> None:
    # Given an idle worker with the default heartbeat
    start_worker("-c2", "--without-heartbeat", heartbeat=0.0, lease=8.0)
    wait_until(lambda: client.scard("fleetring:q:actions:idle") == 1)
    time.sleep(1)  # what it says when it starts is over

    def commands() -> int:
        statistics = client.info("commandstats")
        said = ("evalsha", "ping", "brpop", "subscribe", "psubscribe")
        return sum(statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in said)

    # When six seconds pass
    before = commands()
    time.sleep(6)

    # Then it has said next to nothing
    assert 3 <= commands() - before <= 6


def test_a_task_that_is_parked_costs_an_idle_worker_two_trips(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait
) -> None:
    # Given an idle worker with more slots than work
    start_worker("-c2", heartbeat=0.6)
    wait_until(lambda: client.scard("fleetring:q:actions:idle") == 1)

    def scripts() -> int:
        return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])

    # When twenty tasks come one after another, and each is parked
    before = scripts()
    for number in range(20):
        app.send_task("park_once", args=["here"])
        wait_until(lambda parked=number + 1: client.zcard("fleetring:q:actions:parked") == parked)

    # Then each took a script to be sent, one to be claimed and one to be parked, and a few heartbeats come on top
    assert 60 <= scripts() - before < 70


def test_an_idle_worker_starts_a_task_at_once(app: Celery, start_worker: Start) -> None:
    # Given an idle worker
    start_worker("-c1", heartbeat=0.6)
    app.send_task("add", args=[1, 1]).get(timeout=60)
    time.sleep(0.2)

    # When a task is sent
    started = time.monotonic()
    app.send_task("add", args=[1, 1]).get(timeout=10, interval=0.001)

    # Then it was woken and did not wait for its next heartbeat
    assert time.monotonic() - started < 0.15


def test_tasks_run_in_the_caller_when_the_application_is_eager(app: Celery, client: redis.Redis) -> None:
    # Given an application without a broker in the way
    app.conf.task_always_eager = True

    # When a task is called
    result = app.tasks["add"].delay(2, 3)

    # Then its result is there and the broker was not asked
    assert result.get() == 5
    assert client.keys("*") == []


def test_a_wait_without_an_event_loop_ends_when_it_is_to_heartbeats_or_not(url: str, queue_app: ModuleType) -> None:
    # Given a consumer that shows a sign of life each 0.6 seconds
    app = queue_app.make_app(url, heartbeat=0.6)
    with app.connection_for_read() as connection, app.amqp.TaskConsumer(connection):
        began = time.monotonic()

        # When it waits in vain for a little longer than that
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.7)

        # Then it has waited for so long, and not for the same time again after the sign
        assert 0.7 <= time.monotonic() - began < 1.1
