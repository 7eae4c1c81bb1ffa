"""The verbs for waiting tasks, for whole queues and for dead letters."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery.exceptions import TaskRevokedError

from tasks import app, pool
from tasks.errors import InvalidArguments, InvalidPriority, UnknownQueue
from tasks.transport import NewTask, NoSuchTask


def order() -> list[str]:
    return [task.id for task in pool.list_("actions", "ready")]


# -- priorities


def test_a_task_with_a_new_priority_keeps_the_place_of_its_arrival(work: Any) -> None:
    # G-20: given tasks of two priorities
    ids = ["a", "b", "c", "d"]
    pool.add_many([work.note.s(text) for text in ids], priority=[0, 0, 5, 5], task_ids=ids)

    # When one is made equal to others, then it goes before those which are younger, behind those which are older
    assert pool.change_priority("c", 0) == "ready"
    pool.add(work.note.s("e"), task_id="e")
    assert order() == ["a", "b", "c", "e", "d"]
    pool.change_priority("a", 5)
    assert order() == ["b", "c", "e", "a", "d"]


def test_the_same_priority_again_and_back_and_forth_changes_nothing(work: Any) -> None:
    # G-21, G-22
    pool.add_many([work.note.s(text) for text in "abc"], task_ids=list("abc"))
    for priority in (0, 7, 0, -3, 0, 0):
        pool.change_priority("b", priority)
    assert order() == ["a", "b", "c"]
    assert pool.stats().depth == {0: 3}


def test_a_delayed_task_takes_its_new_priority_along(work: Any) -> None:
    pool.add(work.note.s("a").set(countdown=60), task_id="a")
    assert pool.change_priority("a", -5) == "delayed"
    assert pool.find("a").priority == -5


@pytest.mark.parametrize("task_id", ["ghost", None, 7])
def test_an_unknown_id_is_no_such_task(task_id: Any) -> None:
    # G-4, G-19
    for verb in (lambda: pool.change_priority(task_id, 1), lambda: pool.cancel(task_id), lambda: pool.find(task_id)):
        with pytest.raises(NoSuchTask, match=f"Task '{task_id}' was not found"):
            verb()


@pytest.mark.parametrize("priority", ["high", None, 1.5, True])
def test_a_priority_is_an_integer(work: Any, priority: Any) -> None:
    pool.add(work.note.s("a"), task_id="a")
    with pytest.raises(InvalidPriority, match="not an integer"):
        pool.change_priority("a", priority)


# -- cancelling


@pytest.mark.parametrize("countdown", [0, 60])
def test_a_cancelled_task_never_runs_and_whoever_waits_for_it_is_told(work: Any, countdown: int) -> None:
    # Given a waiting task
    result = pool.add(work.note.s("a").set(countdown=countdown))

    # When it is cancelled
    assert pool.cancel(result.id) == ("delayed" if countdown else "ready")

    # Then it is gone, and its result says why
    assert pool.list_() == []
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="cancelled"):
        result.get(timeout=60)
    with pytest.raises(NoSuchTask):
        pool.cancel(result.id)


# -- queues


def test_a_paused_queue_starts_nothing_until_each_of_its_reasons_is_taken_back() -> None:
    # G-27: given a queue that two people paused, one of them twice
    pool.pause("actions", "upgrade")
    pool.pause("actions", "upgrade")
    pool.pause("actions", "audit")
    assert sorted(pool.stats().pauses) == ["audit", "upgrade"]

    # When they are done, then it runs after the last
    assert not pool.resume("actions", "upgrade")
    assert pool.resume("actions", "audit")
    assert pool.resume("actions", "never paused for this")
    assert pool.stats().pauses == {}


@pytest.mark.parametrize(
    "verb", [pool.stats, pool.pause, pool.resume, pool.quiesce, pool.has_running_tasks, pool.dead_letters, pool.list_]
)
def test_a_misspelt_queue_is_an_error_that_names_the_right_one(verb: Callable[[str], Any]) -> None:
    with pytest.raises(UnknownQueue, match="queue 'actoins' is unknown; did you mean 'actions'"):
        verb("actoins")


@pytest.mark.parametrize("slots", [-1, 1.5, "two", True])
def test_impossible_sizes_are_refused(slots: Any) -> None:
    # G-34
    with pytest.raises(InvalidArguments, match="whole number from 0"):
        pool.resize("actions", slots)


def test_a_pause_needs_a_reason() -> None:
    with pytest.raises(InvalidArguments, match="isn't empty"):
        pool.pause("actions", "")


def test_stats_count_everything_that_a_queue_holds(work: Any) -> None:
    pool.add_many([work.note.s(n) for n in range(5)], priority=[0, 0, -20, 7, 7])
    pool.add(work.note.s("later").set(countdown=60))
    pool.resize("actions", 3)
    stats = pool.stats()
    assert stats.depth == {-20: 1, 0: 2, 7: 2}
    assert (stats.ready, stats.delayed, stats.running, stats.parked, stats.dead, stats.slots) == (5, 1, 0, 0, 0, 3)
    assert stats.oldest is not None
    assert 0 <= stats.oldest < 5
    assert not pool.has_running_tasks()


def test_a_listing_can_be_narrowed(work: Any) -> None:
    pool.add(work.note.s("a"), task_id="a")
    pool.add(work.note.s("b").set(countdown=60), task_id="b")
    assert [task.id for task in pool.list_(state="delayed")] == ["b"]
    assert [task.id for task in pool.list_("periodic")] == []
    with pytest.raises(InvalidArguments, match="state 'lost' is unknown; there are ready, running, delayed, parked"):
        pool.list_(state="lost")  # type: ignore[arg-type]


# -- what needs a worker


@pytest.mark.system
@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_a_queue_runs_no_more_tasks_at_once_than_it_has_slots_over_all_workers(
    work: Any, *, kind: str, start_worker: Any, journal: Any, open_door: Any, wait_until: Any
) -> None:
    # G-34: given a queue with 3 slots, two workers with 2 places each, and work for all of them
    pool.resize("actions", 3)
    start_worker("--pool", kind)
    pool.add_many([work.hold.s(f"{n}") for n in range(10)])

    # Then 3 run, for a worker grows with the sizes of its queues; and no more with the worker that comes later
    wait_until(lambda: len(journal("began")) == 3)
    start_worker("--pool", kind)
    assert pool.stats().running == 3

    # When there are to be fewer, then what runs goes on, and nothing starts until fewer run
    pool.resize("actions", 1)
    for n in range(3):
        assert len(journal("began")) == 3
        open_door(str(n))
        wait_until(lambda n=n: len(journal("ended")) == n + 1)
    wait_until(lambda: len(journal("began")) == 4)
    assert pool.stats().running == 1

    # When there are to be more, then more run
    pool.resize("actions", None)
    wait_until(lambda: pool.stats().running >= 4)

    # When there are to be none, then nothing starts any more, and nothing waiting is lost
    pool.resize("actions", 0)
    running = pool.stats().running
    for n in range(3, 3 + running):
        open_door(str(n))
    wait_until(lambda: not pool.has_running_tasks())
    assert pool.stats().ready == 7 - running
    assert len(journal("began")) == 3 + running


@pytest.mark.system
def test_running_tasks_are_seen_paused_around_and_cancelled(
    work: Any, start_worker: Any, journal: Any, open_door: Any, wait_until: Any
) -> None:
    worker = start_worker("--concurrency", "1")

    # G-33: a running task is seen from everywhere, and its priority and id are taken
    held = pool.add(work.hold.s("held"), task_id="held")
    wait_until(lambda: journal("began"))
    assert pool.has_running_tasks()
    assert pool.find("held").worker == "w0@test"
    with pytest.raises(NoSuchTask, match="Task 'held' was not found"):
        pool.change_priority("held", 3)

    # G-15: nobody can add another one under its id
    with pytest.raises(ValueError, match="'held' lives already"):
        pool.add(work.note.s("second"), task_id="held")

    # G-27: a pause lets it go on, and starts nothing more
    pool.pause("actions", "test")
    after = pool.add(work.note.s("after"))
    open_door("held")
    held.get(timeout=60)
    assert pool.stats().ready == 1
    pool.resume("actions", "test")
    assert after.get(timeout=60) == "after"

    # A cancelled running task is told, and ends in its own way
    obeying = pool.add(work.obey.s())
    wait_until(lambda: len(journal("began")) == 2)
    assert pool.cancel(obeying.id) == "running"
    assert obeying.get(timeout=60) == "ended early"

    # So is one whose queue is to have no slots (G-6, G-36)
    obeying = pool.add(work.obey.s())
    wait_until(lambda: len(journal("began")) == 3)
    pool.resize("actions", 0)
    assert obeying.get(timeout=60) == "ended early"
    pool.resize("actions", None)

    # G-26: whatever a task does, the worker lives on, and the error reaches whoever waits
    with pytest.raises(RuntimeError, match="last word"):
        pool.add(work.fail.s()).get(timeout=60)
    assert pool.add(work.note.s("alive")).get(timeout=60) == "alive"
    assert worker.process.poll() is None


@pytest.mark.system
def test_a_cancelled_task_whose_worker_died_does_not_run_again(
    work: Any, start_worker: Any, journal: Any, wait_until: Any
) -> None:
    # Given a running task that is cancelled and does not care
    worker = start_worker()
    result = pool.add(work.hold.s("never"))
    wait_until(lambda: journal("began"))
    pool.cancel(result.id)

    # When its worker is killed, and another one comes
    worker.kill()
    start_worker()

    # Then the task ends as revoked, without a second run
    with pytest.raises(TaskRevokedError):
        result.get(timeout=60)
    assert len(journal("began")) == 1
    wait_until(lambda: pool.list_() == [])


@pytest.mark.system
def test_dead_letters_tell_why_and_can_be_retried_or_dropped(work: Any, start_worker: Any, wait_until: Any) -> None:
    # Given two tasks that were refused
    start_worker()
    results = pool.add_many([work.refuse.s(), work.refuse.s()], task_ids=["one", "two"])
    letters = wait_until(lambda: len(pool.dead_letters()) == 2 and pool.dead_letters())
    assert {(letter.id, letter.name, letter.reason) for letter in letters} == {
        ("one", "pool.refuse", "Reject: ('never', False)"),
        ("two", "pool.refuse", "Reject: ('never', False)"),
    }

    # When one is retried, then it runs again, and is refused again
    before = next(letter.at for letter in letters if letter.id == "one")
    pool.retry_dead("one")
    wait_until(lambda: [letter for letter in pool.dead_letters() if letter.id == "one" and letter.at > before])

    # When the other one is dropped, then it is gone, and whoever waits for it is told
    pool.drop_dead("two")
    assert [letter.id for letter in pool.dead_letters(None)] == ["one"]
    with pytest.raises(TaskRevokedError, match="dropped as a dead letter: Reject"):
        results[1].get(timeout=60)
    for verb in (pool.retry_dead, pool.drop_dead):
        with pytest.raises(NoSuchTask, match="Dead letter 'two' was not found"):
            verb("two")


def test_a_message_that_nobody_can_read_can_be_listed_and_cancelled(broker: redis.Redis) -> None:
    with app.queues() as queues:
        queues.add([NewTask("actions", "torn", json.dumps({"headers": {}, "body": "?"}))])
    assert pool.find("torn").name == "?"
    assert pool.cancel("torn") == "ready"
