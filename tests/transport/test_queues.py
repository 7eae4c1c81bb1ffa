"""The queues' administration, with Celery's own messages in them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from tasks.transport import DuplicateTask, News, NewTask, NoSuchTask, Queues
from tasks.transport.records import ClaimAnswer
from tasks.transport.scripts import ROOT

Wait = Callable[..., Any]
Start = Callable[..., Any]
Journal = Callable[..., list[str]]


@pytest.fixture
def queues(app: Celery) -> Iterator[Queues]:
    queues = Queues(app.connection_for_write())
    yield queues
    queues.close()


def order(queues: Queues, queue: str = "actions") -> list[str]:
    return [task.id for task in queues.tasks(queue) if task.state == "ready"]


def park_what_is_held_by(consumer: str, queues: Queues) -> None:
    with queues._connection.default_channel.conn_or_acquire() as client:
        [(member, receipt)] = client.hgetall(f"{ROOT}held:{consumer}").items()
    assert queues._call("park", consumer, member, receipt) == 1


def test_a_waiting_task_with_a_new_priority_keeps_its_place_among_equals(app: Celery, queues: Queues) -> None:
    # Given three tasks, the middle one of another priority
    first, middle, last = (app.send_task("add", args=[1, 2], priority=priority).id for priority in (5, 9, 5))

    # When the middle one gets the priority of the others
    assert queues.change_priority(middle, 5) == "ready"
    assert queues.change_priority(middle, 5) == "ready"

    # Then it stands where its arrival puts it
    assert order(queues) == [first, middle, last]


def test_an_unknown_task_is_told_apart(queues: Queues) -> None:
    with pytest.raises(NoSuchTask, match="'ghost' was not found"):
        queues.change_priority("ghost", 1)
    with pytest.raises(NoSuchTask, match="'ghost' was not found"):
        queues.cancel("ghost")
    assert queues.unpark("ghost") == ["ghost"]
    with pytest.raises(NoSuchTask, match="'ghost' was not found"):
        queues.retry_dead("ghost")
    with pytest.raises(NoSuchTask, match="'ghost' was not found"):
        queues.drop_dead("ghost")


def test_a_cancelled_task_never_starts_and_leaves_nothing(app: Celery, client: redis.Redis, queues: Queues) -> None:
    # Given a ready and a delayed task
    ready, delayed = app.send_task("add"), app.send_task("add", countdown=60)

    # When both are cancelled
    assert queues.cancel(ready.id) == "ready"
    assert queues.cancel(delayed.id) == "delayed"

    # Then only counters and names are left
    assert {key.decode() for key in client.keys("fleetring:*")} == {"fleetring:arrival", "fleetring:queues"}


def test_a_batch_is_added_whole_or_not_at_all(queues: Queues) -> None:
    # Given a batch with an id twice
    batch = [NewTask("actions", task_id, "{}") for task_id in ("one", "two", "one")]

    # When it is added
    with pytest.raises(DuplicateTask, match="'one' lives already"):
        queues.add(batch)

    # Then nothing was, and an empty batch is fine
    queues.add([])
    assert order(queues) == []


def claim(queues: Queues, consumer: str, lease: float, *consumed: str, news: int = 0) -> ClaimAnswer:
    """Claim one task, and return the answer."""
    answer = ClaimAnswer.read(
        queues._call("claim", consumer, "0", round(lease * 1e6), 0, 5, 0, 1, 1, 0, -20, "0", news, *consumed)
    )
    assert answer
    return answer


def test_a_worker_hears_how_the_next_task_of_each_queue_waits_what_sizes_there_are_and_whether_tasks_are_parked(
    queues: Queues,
) -> None:
    def news() -> News:
        heard = claim(queues, "curious", 60.0, news=1).news
        assert heard
        return heard

    # Given tasks in four queues, of which one is paused and one has only what is not due yet, and an empty queue
    queues.add([NewTask(name, f"in {name}", "{}") for name in ("a.1", "a.2", "b.1")])
    queues.add([NewTask("a.3", "later", "{}", delay=60)])
    queues.add([NewTask("c.1", "in c.1", "{}")])
    queues.cancel("in c.1")
    queues.pause("a.2", "a reason")

    # Then all where tasks live are told, and how the next task waits, with an age that grows
    first, second = news(), news()
    assert first.waiting.keys() == {"a.1", "a.2", "a.3", "b.1"}
    assert [name for name, task in first.waiting.items() if task is None] == ["a.2", "a.3"]
    assert first.waiting["a.1"] is not None
    assert second.waiting["a.1"] is not None
    assert second.waiting["a.1"].seconds > first.waiting["a.1"].seconds
    assert not second.waiting["a.1"].lost_before

    # And there are no sizes, and nothing is parked
    assert (first.sizes, first.parking) == ({}, False)

    # When there are, then that is told, too; but only to who asks for it
    queues.limit("b.1", 3)
    claim(queues, "somebody", 60.0, "a.1")
    park_what_is_held_by("somebody", queues)
    told = news()
    assert (told.sizes, told.parking, told.waiting["a.1"]) == ({"b.1": 3}, True, None)
    assert claim(queues, "curious", 60.0).news is None


def test_a_consumer_hears_when_another_one_will_be_dead_and_looks_at_once_for_a_second(queues: Queues) -> None:
    # Given a consumer of a long lease, and two that will be dead soon, of which one holds a task
    queues.add([NewTask("actions", "one", "{}")])
    claim(queues, "survivor", 60.0)
    claim(queues, "victim", 0.2, "actions")
    claim(queues, "another", 0.3, "actions")

    # Then it hears when to look
    next_due = claim(queues, "survivor", 60.0).next_due
    assert next_due
    assert next_due <= 0.2

    # When it looks then, then it has the task, and looks at once for whoever else is dead
    time.sleep(0.35)
    answer = claim(queues, "survivor", 60.0, "actions")
    assert ([one.queue for one in answer.given], answer.died) == (["actions"], [b"victim", b"one"])
    assert answer.next_due == 0.0
    assert claim(queues, "survivor", 60.0).died == [b"another"]
    last = claim(queues, "survivor", 60.0).next_due
    assert last
    assert last > 50


def test_a_living_id_cannot_be_taken_twice(queues: Queues) -> None:
    # Given a task that waits, in another queue
    queues.add([NewTask("other", "one", "{}")])

    # When its id is used again
    # Then that is refused, and the queue that holds it is the only one that is occupied
    with pytest.raises(DuplicateTask):
        queues.add([NewTask("actions", "one", '{"new": 1}', priority=3)])
    assert queues.occupied() == ["other"]
    assert [task.priority for task in queues.tasks("other")] == [0]


def test_a_queue_runs_when_no_reason_for_a_pause_is_left(app: Celery, queues: Queues) -> None:
    # Given a queue that two people have paused
    queues.pause("actions", "night")
    queues.pause("actions", "incident 7")

    # When one of them resumes it
    # Then it stays paused, until the other does
    assert queues.resume("actions", "night") is False
    assert set(queues.stats("actions").pauses) == {"incident 7"}
    assert queues.resume("actions", "incident 7") is True
    assert queues.stats("actions").pauses == {}


def test_statistics_count_each_kind(app: Celery, queues: Queues) -> None:
    # Given tasks of three priorities, a delayed one, and one that a consumer parks
    app.send_task("add")
    claim(queues, "somebody", 1000.0, "actions")
    park_what_is_held_by("somebody", queues)
    for priority in (-20, 0, 0, 10):
        app.send_task("add", priority=priority)
    app.send_task("add", countdown=60)
    time.sleep(0.01)

    # When the queue is counted
    stats = queues.stats("actions")

    # Then each stands where it belongs
    assert stats.depth == {-20: 1, 0: 2, 10: 1}
    assert (stats.ready, stats.delayed, stats.parked, stats.running, stats.dead) == (4, 1, 1, 0, 0)
    assert stats.oldest is not None
    assert 0.01 <= stats.oldest < 5
    assert queues.names() == ["actions"]
    assert queues.stats("actions").running == 0


def test_with_ageing_a_task_overtakes_later_ones_of_the_next_level(app: Celery, queues: Queues) -> None:
    # Given a queue in which a level is worth a twentieth of a second
    queues.set_ageing("actions", 0.05)
    low = app.send_task("add", priority=1).id
    soon = app.send_task("add", priority=0).id
    time.sleep(0.06)
    late = app.send_task("add", priority=0).id

    # Then the waiting one is behind what came at once, before what came later
    assert order(queues) == [soon, low, late]
    assert queues.stats("actions").depth == {0: 2, 1: 1}

    # And in strict order it is last
    queues.set_ageing("actions", None)
    assert order(queues) == [soon, late, low]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_an_impossible_ageing_is_refused(queues: Queues, seconds: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        queues.set_ageing("actions", seconds)


def test_a_queue_is_purged_and_deleted(app: Celery, client: redis.Redis, queues: Queues) -> None:
    # Given a queue with waiting tasks
    for countdown in (None, None, 60):
        app.send_task("add", countdown=countdown)

    # When Celery purges it, and it is deleted
    assert app.control.purge() == 3
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete("actions")

    # Then nothing of it is left
    assert [key for key in client.keys("fleetring:*") if key != b"fleetring:arrival"] == []


def test_many_tasks_in_one_pipeline_are_published(app: Celery, queues: Queues) -> None:
    # Given kombu's way to publish in batches
    # When tasks are sent in one
    with app.producer_pool.acquire(block=True) as producer, producer.batch(max_size=10):
        sent = [app.send_task("add", args=[1, i], producer=producer).id for i in range(25)]

    # Then all are there, in order
    assert order(queues) == sent


def test_a_publication_that_is_repeated_after_a_lost_answer_is_one_task(app: Celery, queues: Queues) -> None:
    # Given a message that was stored, but whose producer never learned it
    properties = {"correlation_id": "one"}
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        for _ in range(2):
            message = channel.prepare_message(
                "[[], {}, {}]", 0, "application/json", "utf-8", {"id": "one", "task": "add"}, properties
            )
            channel.basic_publish(message, exchange="", routing_key="actions")
            queues.change_priority("one", 4)

    # Then the second time has changed nothing
    assert [(task.id, task.priority) for task in queues.tasks("actions")] == [("one", 4)]


def test_messages_can_be_fetched_one_by_one(app: Celery) -> None:
    # Given a task
    task = app.send_task("add", args=[1, 2])
    with app.connection_for_read() as connection, connection.SimpleQueue("actions") as queue:
        # When it is fetched with kombu's simple interface
        message = queue.get(timeout=60)

        # Then it is that task, and acknowledging it removes it
        assert message.headers["id"] == task.id
        message.ack()
        assert queue.qsize() == 0


def test_a_message_is_fetched_although_the_lease_is_gone(app: Celery, client: redis.Redis) -> None:
    # Given somebody who fetched a message, and whose lease has ended since
    with app.connection_for_read() as connection:
        app.send_task("add", args=[1, 2])
        connection.default_channel.basic_get("actions").ack()
        assert connection.default_channel.basic_get("actions") is None
        client.delete("fleetring:leases")

        # When there is another, then it is fetched
        task = app.send_task("add", args=[1, 2])
        assert connection.default_channel.basic_get("actions").headers["id"] == task.id


@pytest.mark.parametrize("settle", ["ack", "requeue", "reject"])
def test_the_end_of_a_run_that_was_parked_does_not_settle_the_next_run_of_the_same_worker(
    app: Celery, queues: Queues, settle: str
) -> None:
    # Given a running task that was parked and unparked, and given to the same worker again
    task = app.send_task("add")
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        first = channel.basic_get("actions")
        park_what_is_held_by(channel.consumer.id, queues)
        queues.unpark(task.id)
        second = channel.basic_get("actions")

        # When the first run ends, however it does
        getattr(first, settle)()

        # Then the second goes on, and its end counts
        assert queues.find(task.id).state == "running"
        second.ack()
        assert queues.occupied() == []


@pytest.mark.system
def test_reserved_slots_start_urgent_tasks_only(
    app: Celery, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given a worker with two slots, one of them reserved, and two long tasks
    start_worker("-c2", reserved_slots=1)
    normal = [app.send_task("sleep", args=[2], priority=0).id for _ in range(2)]
    wait_until(lambda: journal("started") == normal[:1])

    # When an urgent one comes
    urgent = app.send_task("record", priority=-20).id

    # Then it starts at once, and the second long one waits for the first
    wait_until(lambda: urgent in journal(), timeout=1.5)
    assert journal("started") == normal[:1]


@pytest.mark.system
def test_a_paused_queue_starts_nothing_and_a_resumed_one_at_once(
    app: Celery, queues: Queues, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given a worker and a paused queue with a task
    start_worker("-c1", heartbeat=0.6)
    queues.pause("actions", "maintenance")
    task = app.send_task("record")
    time.sleep(1)
    assert journal() == []

    # When it is resumed
    queues.resume("actions", "maintenance")

    # Then the task starts without waiting for a heartbeat
    wait_until(lambda: journal() == [task.id], timeout=0.4)


@pytest.mark.system
def test_a_running_task_can_be_cancelled(
    app: Celery, queues: Queues, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given a running task
    start_worker("-c1")
    task = app.send_task("sleep", args=[1])
    wait_until(lambda: journal("started") == [task.id])
    assert queues.stats("actions").running >= 1
    assert [(listed.state, listed.name) for listed in queues.tasks("actions")] == [("running", "sleep")]

    # When it is cancelled, then it can see that
    assert queues.cancel(task.id) == "running"
    assert queues.is_cancelled(task.id)


@pytest.mark.system
def test_a_task_that_parks_itself_gives_back_its_slot_and_keeps_its_arrival(
    app: Celery, queues: Queues, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given one slot, a task that parks itself, and another one
    start_worker("-c1")
    parked = app.send_task("park_once", args=["the node is locked"])
    wait_until(lambda: queues.stats("actions").parked == 1)
    arrival = queues.find(parked.id).arrival

    # Then its state says what it waits for, and the slot is free
    assert (parked.state, str(parked.result)) == ("RETRY", "the node is locked")
    assert queues.find(parked.id).state == "parked"
    other = app.send_task("record")
    wait_until(lambda: other.id in journal())
    assert queues.parked(0.001) == [parked.id]

    # When it is unparked, then it runs again, where its arrival puts it
    queues.pause("actions", "look")
    later = app.send_task("record")
    assert queues.unpark(parked.id, "ghost") == ["ghost"]
    assert queues.find(parked.id).arrival == arrival
    assert order(queues) == [parked.id, later.id]
    queues.resume("actions", "look")
    assert parked.get(timeout=60) == "done"
    wait_until(lambda: queues.ids("actions") == [])


@pytest.mark.system
def test_a_task_that_is_unparked_before_it_is_parked_goes_back_at_once(
    app: Celery, queues: Queues, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given a task that takes its time before it parks itself
    start_worker("-c1")
    task = app.send_task("park_once", args=["nothing", 1.0])
    wait_until(lambda: journal("started") == [task.id])

    # When it is unparked while it runs, then it doesn't stay parked
    assert queues.unpark(task.id) == []
    assert task.get(timeout=60) == "done"


@pytest.mark.system
def test_a_parked_task_that_expires_or_is_cancelled_ends_as_revoked(
    app: Celery, queues: Queues, start_worker: Start, wait_until: Wait, journal: Journal
) -> None:
    # Given a task that is parked and expires, and one that is cancelled on its way to be parked
    start_worker("-c2")
    expiring = app.send_task("park_once", args=["nothing"], expires=1.5)
    cancelled = app.send_task("park_once", args=["nothing", 1.0])
    wait_until(lambda: journal("started").count(cancelled.id) == 1)
    queues.cancel(cancelled.id)

    # When somebody looks after parked tasks
    wait_until(lambda: queues.parked(0.001) is None or expiring.state == "REVOKED")

    # Then both end, and nothing is left
    wait_until(lambda: cancelled.state == "REVOKED")
    wait_until(lambda: queues.ids("actions") == [])
    assert journal("started").count(cancelled.id) == 1
