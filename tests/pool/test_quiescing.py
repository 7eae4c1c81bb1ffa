"""Waiting until a queue is quiet."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasks import app, pool
from tasks.errors import InvalidArguments, QueueInactive, QuiesceTimeout
from tasks.transport import QueueClosed


@pytest.fixture
def background() -> Any:
    """Runs calls beside the test."""
    with ThreadPoolExecutor() as executor:
        yield executor.submit


def closed() -> bool:
    """Tell whether the queue refuses new tasks."""
    with app.queues() as queues, queues._connection.default_channel.conn_or_acquire() as client:
        return bool(client.hexists("fleetring:gates", "actions"))


def test_an_empty_queue_is_quiet_at_once_and_open_afterwards(work: Any) -> None:
    for mode in ("block", "reject", "snapshot"):
        pool.quiesce("actions", 5, mode)
        assert not closed()
    pool.add(work.note.s("a"))


@pytest.mark.parametrize("inactivate", [lambda: pool.pause("actions", "test"), lambda: pool.resize("actions", 0)])
@pytest.mark.parametrize("mode", ["block", "reject", "snapshot"])
def test_waiting_for_a_queue_that_starts_nothing_is_an_error_and_no_hang(
    work: Any, mode: Any, inactivate: Callable[[], None]
) -> None:
    # G-30: given an inactive queue; empty it is quiet
    inactivate()
    pool.quiesce("actions", 5, mode)

    # When something waits in it, then that is said at once
    pool.add(work.note.s("a"))
    with pytest.raises(QueueInactive, match=r"would never be quiet: 0 running, 1 ready.*resume or resize"):
        pool.quiesce("actions", 60, mode)
    assert not closed()


def test_the_deadline_ends_the_waiting_and_says_what_was_left(work: Any) -> None:
    # G-32
    pool.add(work.note.s("a"))
    for mode in ("block", "snapshot"):
        with pytest.raises(QuiesceTimeout, match=r"not quiet within 0.2 s: 0 running, 1 ready"):
            pool.quiesce("actions", 0.2, mode)
    assert not closed()


def test_in_reject_mode_adding_is_refused(work: Any, background: Any, wait_until: Any) -> None:
    # Given a queue that somebody waits for
    pool.add(work.note.s("a"), task_id="a")
    waiting = background(pool.quiesce, "actions", 10, "reject")
    wait_until(closed)

    # When somebody adds, in whatever way, then that is refused; another queue is open
    for add in (lambda: pool.add(work.note.s("b")), lambda: work.note.delay("b"), lambda: app.send_task("pool.note")):
        with pytest.raises(QueueClosed, match=r"Queue actions takes no new tasks for up to"):
            add()
    pool.add(work.note.s("elsewhere").set(queue="periodic"))

    # Until the queue is quiet
    pool.cancel("a")
    waiting.result(timeout=10)
    pool.add(work.note.s("b"))


def test_in_block_mode_whoever_adds_waits(work: Any, background: Any, wait_until: Any) -> None:
    # G-28: given a queue that somebody waits for
    pool.add(work.note.s("a"), task_id="a")
    waiting = background(pool.quiesce, "actions", 10)
    wait_until(closed)

    # When others add
    adding = [
        background(lambda: pool.add(work.note.s("b"))),
        background(lambda: pool.add_many([work.note.s("c"), work.note.s("d")])),
        background(lambda: work.note.delay("e")),
    ]
    time.sleep(0.3)
    assert [task.id for task in pool.list_("actions")] == ["a"]

    # Then they go on once it is quiet
    pool.cancel("a")
    waiting.result(timeout=10)
    for added in adding:
        added.result(timeout=10)
    assert pool.stats().ready == 4


def test_two_who_wait_for_one_queue_do_not_disturb_one_another(work: Any, background: Any, wait_until: Any) -> None:
    # G-31: given two who wait, the second for a shorter time
    pool.add(work.note.s("a"), task_id="a")
    patient = background(pool.quiesce, "actions", 10)
    wait_until(closed)
    with pytest.raises(QuiesceTimeout):
        pool.quiesce("actions", 0.2)

    # When the second gives up, then the queue stays closed for the first
    assert closed()
    pool.cancel("a")
    patient.result(timeout=10)
    assert not closed()


def test_a_queue_opens_by_itself_when_whoever_waits_for_it_has_died(work: Any) -> None:
    # Given what a killed process leaves behind
    with app.queues() as queues:
        queues.close_gate("actions", "a dead process", "block", 0.4)

    # When somebody adds, then the deadline lets it in
    started = time.monotonic()
    pool.add(work.note.s("a"))
    assert 0.2 < time.monotonic() - started < 3
    assert not closed()


def test_a_snapshot_waits_for_what_lived_at_the_call_only(work: Any, background: Any, wait_until: Any) -> None:
    # Given more tasks than are looked at in one go
    ids = [f"old {n}" for n in range(1500)]
    pool.add_many([work.note.s(n) for n in ids], task_ids=ids)
    waiting = background(pool.quiesce, "actions", 20, "snapshot")
    time.sleep(0.2)

    # When new ones come, and the old ones end
    pool.add(work.note.s("new"))
    for task_id in ids:
        with app.queues() as queues:
            queues.cancel(task_id)

    # Then the new one is not waited for
    waiting.result(timeout=10)
    assert pool.stats().ready == 1


@pytest.mark.parametrize(
    ("arguments", "explanation"),
    [
        (("actions", 0), "a timeout of 0 is not usable"),
        (("actions", float("inf")), "a timeout of inf"),
        (("actions", "soon"), "a timeout of 'soon'"),
        (("actions", 5, "politely"), "mode 'politely' is unknown; there are block, reject, snapshot"),
    ],
)
def test_impossible_waits_are_refused(arguments: Any, explanation: str) -> None:
    with pytest.raises(InvalidArguments, match=explanation):
        pool.quiesce(*arguments)


@pytest.mark.system
def test_running_and_deferred_tasks_and_their_children_are_waited_for(
    work: Any, *, start_worker: Any, background: Any, wait_until: Any, journal: Any, open_door: Any
) -> None:
    # G-28, G-29, G-31: given a running task that will add a child, and one that will be deferred
    start_worker()
    pool.add(work.add_a_child.s("child"))
    pool.add(work.defer_once.s("again", delay=0.5))
    wait_until(lambda: journal("began"))

    # When somebody waits for the queue, in both ways
    waiting = [background(pool.quiesce, "actions", 20, mode) for mode in ("block", "snapshot")]
    wait_until(closed)
    open_door("child")
    for each in waiting:
        each.result(timeout=20)

    # Then all have ended by now, the child and the second run, too
    assert pool.list_("actions") == []
    assert sorted(entry["text"] for entry in journal("ran")) == ["again", "again", "child"]

    # And a task that waits for its own queue is told that it would wait for itself
    with pytest.raises(Exception, match="it runs from that queue"):
        pool.add(work.quiesce_own_queue.s()).get(timeout=60)
    assert threading.active_count() < 50
