"""What a running task may ask of itself and tell about itself."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from celery.events.receiver import EventReceiver

from tasks import app, current, pool
from tasks.base import Deferred
from tasks.errors import InvalidArguments, NotInTask


@pytest.mark.parametrize(
    "use",
    [
        lambda: current.priority,
        current.should_terminate,
        lambda: current.set_name("x"),
        lambda: current.progress(1, 2),
        current.defer,
    ],
)
def test_outside_a_task_there_is_no_current_one(use: Callable[[], Any]) -> None:
    # G-6, G-7
    with pytest.raises(NotInTask, match=r"tasks\.current is the task that runs here, and none does"):
        use()


def test_a_task_that_is_called_directly_has_no_queue_to_go_back_to(work: Any) -> None:
    with pytest.raises(Deferred):
        work.spin.apply(throw=True)


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, "soon", True])
def test_a_delay_is_a_number_of_seconds(work: Any, delay: Any) -> None:
    with pytest.raises(InvalidArguments, match="give seconds, 0 or more"):
        work.defer_once.apply(args=["a", None, delay], throw=True)


def test_a_name_is_the_threads_until_the_task_ends(work: Any) -> None:
    # G-8
    assert work.whisper.apply(args=["slot 4"]).get() == "MainThread/slot 4"
    assert work.whisper.apply(args=[None]).get() == "MainThread"


@pytest.mark.system
def test_a_deferred_task_goes_behind_its_peers_and_burns_no_retry(
    work: Any, start_worker: Any, journal: Any, wait_until: Any
) -> None:
    # G-3, G-23: given a task that goes back at once, between others
    first = pool.add(work.defer_once.s("deferred", delay=0), task_id="mine", priority=-1)
    pool.add_many([work.note.s(text) for text in "abc"], priority=-1)
    urgent = pool.add(work.defer_once.s("lowered", 5, 0), priority=-9)
    start_worker("--concurrency", "1")

    # Then it runs again behind those of its priority, under its own id, with the same arguments
    assert first.get(timeout=60) == "deferred"
    assert urgent.get(timeout=60) == "lowered"
    ran = journal("ran")
    assert [entry["text"] for entry in ran] == ["lowered", "deferred", "a", "b", "c", "deferred", "lowered"]
    assert {entry["id"] for entry in ran if entry["text"] == "deferred"} == {"mine"}

    # And a new priority holds from then on, and no retry was counted
    assert [entry["priority"] for entry in ran if entry["text"] == "lowered"] == [-9, 5]
    assert {entry["retries"] for entry in ran if "retries" in entry} == {0}

    # G-25: a priority that is none fails the task, not the worker
    with pytest.raises(Exception, match="'soon', which is not an integer"):
        pool.add(work.defer_wrongly.s()).get(timeout=10)
    assert pool.add(work.note.s("alive")).get(timeout=60) == "alive"

    # G-24: alone in its queue, a task that is deferred without a delay does not spin
    spinning = pool.add(work.spin.s())
    began = len(journal("ran"))
    wait_until(lambda: len(journal("ran")) >= began + 2)
    assert 0.2 < (pool.find(spinning.id).due or math.inf) - pool.find(spinning.id).arrival < 1.6
    assert len(journal("ran")) <= began + 3


@pytest.mark.system
@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_a_running_task_tells_its_name_and_progress_and_hears_that_its_worker_shuts_down(
    work: Any, kind: str, start_worker: Any, journal: Any, wait_until: Any
) -> None:
    worker = start_worker("--pool", kind, "--concurrency", "1", "-E")
    seen: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        handlers = {"task-named": seen.append, "task-progress": seen.append}
        receiver = EventReceiver(connection, handlers=handlers, app=app)
        with receiver.consumer_context() as (own, *_):
            with suppress(TimeoutError):
                own.drain_events(timeout=0.2)

            # When a task tells what it does, then monitors hear it, and the state shows it
            pool.add(work.describe.s()).get(timeout=60)
            while len(seen) < 2:
                own.drain_events(timeout=5)
    named, progress = seen
    assert named["name"] == "slot 4"
    assert (progress["done"], progress["total"], progress["message"]) == (3, 10, "erasing")
    assert journal("progress")[0]["state"] == "PROGRESS"
    assert "/slot 4]" in worker.output
    assert "slot 4" not in pool.add(work.whisper.s(None)).get(timeout=60)

    # When the worker shuts down, then a running task hears it, ends, and its result is kept (G-35)
    obeying = pool.add(work.obey.s())
    wait_until(lambda: journal("began"))
    worker.ask_to_end()
    assert obeying.get(timeout=60) == "ended early"
    worker.process.wait(20)
