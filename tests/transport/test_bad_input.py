"""Whatever a message contains, it is answered where an operator looks, and the queue goes on."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Queue

pytestmark = pytest.mark.system

Wait = Callable[..., Any]
Start = Callable[..., Any]


def publish(app: Celery, body: Any, headers: dict[str, Any] | None = None, **options: Any) -> None:
    """Publish past Celery, as any program could."""
    with app.connection_for_write() as connection:
        producer = connection.Producer()
        queue = Queue("actions", routing_key="actions")
        producer.publish(body, routing_key="actions", headers=headers, declare=[queue], **options)


def header(task: str, task_id: str, **more: Any) -> dict[str, Any]:
    return {"lang": "py", "task": task, "id": task_id, **more}


EMBED: dict[str, None] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

BAD_MESSAGES: dict[str, dict[str, Any]] = {
    "a body that is no JSON": {
        "body": "}{", "headers": header("record", "x1"),
        "content_type": "application/json", "content_encoding": "utf-8",
    },
    "an unknown task": {"body": [[], {}, EMBED], "headers": header("no.such.task", "x2")},
    "no headers": {"body": {"hello": "world"}},
    "no id": {"body": [[], {}, EMBED], "headers": {"task": "record"}},
    "a pickle": {
        "body": b"\x80\x04N.", "headers": header("record", "x3"),
        "content_type": "application/x-python-serialize", "content_encoding": "binary",
    },
    "an ETA that is none": {"body": [[], {}, EMBED], "headers": header("record", "x4", eta="soon")},
    "arguments that are none": {"body": [1, 2], "headers": header("record", "x5")},
}  # fmt: skip


def test_messages_that_cannot_become_tasks_are_dead_letters(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait
) -> None:
    # Given bad messages of every kind in front of a good one
    for message in BAD_MESSAGES.values():
        publish(app, **message)
    good = app.send_task("add", args=[1, 2])

    # When a worker takes them
    worker = start_worker("-c1")

    # Then the good one ran, the bad ones are dead letters, and the worker neither ended nor reconnected
    assert good.get(timeout=60) == 3
    wait_until(lambda: client.hlen("fleetring:q:actions:dead") == len(BAD_MESSAGES))
    wait_until(lambda: not client.exists("fleetring:q:actions:tasks"))
    assert "Connection to broker lost" not in worker.output
    assert worker.process.poll() is None


def test_a_payload_that_is_no_message_is_a_dead_letter(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait
) -> None:
    # Given a list of a stock producer with something that nobody can read
    client.lpush("actions", b"\xff\xfe not JSON")

    # When a worker finds it
    start_worker("-c1", adopt_every=0.3)

    # Then it is a dead letter, and the worker goes on
    wait_until(lambda: client.hlen("fleetring:q:actions:dead") == 1)
    assert app.send_task("add", args=[1, 2]).get(timeout=60) == 3


def test_wrong_arguments_are_the_callers_failure(app: Celery, client: redis.Redis, start_worker: Start) -> None:
    # Given a worker
    start_worker("-c1")

    # When a task is sent with arguments that it does not take
    task = app.send_task("add", args=[1, 2, 3])

    # Then the caller learns it, and no dead letter is left
    with pytest.raises(TypeError, match="positional arguments"):
        task.get(timeout=60)
    assert not client.exists("fleetring:q:actions:dead")


def test_a_message_of_a_stock_celery_producer_runs(
    app: Celery, url: str, client: redis.Redis, start_worker: Start
) -> None:
    # Given messages sent by a Celery application that knows nothing of this transport
    stock = Celery("stock", broker=url, backend=url, set_as_current=False)
    stock.conf.task_default_queue = "actions"
    tasks = [stock.send_task("add", args=[i, i], priority=priority) for i, priority in enumerate([0, 3, 9])]
    assert client.llen("actions") == 1

    # When a worker of ours looks there
    start_worker("-c1", adopt_every=0.3)

    # Then they run
    assert [task.get(timeout=60) for task in tasks] == [0, 2, 4]
    assert not client.exists("actions")


def test_a_payload_of_fifty_megabytes_runs(app: Celery, start_worker: Start) -> None:
    # Given a worker
    start_worker("-P", "solo")

    # When a task with a very large argument is sent
    word = "x" * 50_000_000
    result = app.send_task("record", args=[word], argsrepr="[...]").get(timeout=60)

    # Then it comes through whole
    assert len(result) == len(word)


@pytest.mark.parametrize("priority", ["high", 1.5, True, 2**53 + 1])
def test_an_impossible_priority_is_refused_at_the_producer(app: Celery, client: redis.Redis, priority: Any) -> None:
    # Given a priority that cannot be kept exactly
    # When a task is sent with it
    # Then the producer learns what is wrong, and nothing was queued
    with pytest.raises(ValueError, match=r"2\*\*53"):
        app.send_task("record", priority=priority)
    assert not client.exists("fleetring:q:actions:tasks")


def test_dead_letters_say_what_happened(
    app: Celery, client: redis.Redis, start_worker: Start, wait_until: Wait
) -> None:
    # Given a message that cannot become a task
    publish(app, [[], {}, EMBED], header("record", "bad-eta", eta="soon"))

    # When a worker has refused it
    start_worker("-c1")
    wait_until(lambda: client.hexists("fleetring:q:actions:dead", "bad-eta"))

    # Then its dead letter tells the worker, the reason and the time
    letter = json.loads(client.hget("fleetring:q:actions:dead", "bad-eta").split(b"\n")[0])
    assert letter["worker"].startswith("w0@test")
    assert "invalid ETA value 'soon'" in letter["reason"]
    assert int(letter["at"]) > 1_700_000_000_000_000
