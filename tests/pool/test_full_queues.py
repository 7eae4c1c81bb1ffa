"""Full queues: new work is refused with a clear error, accepted work never is, and urgent tasks find a slot."""

from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import chain

from tasks import Priority, app, pool
from tasks.errors import InvalidArguments
from tasks.transport import QueueFull
from tasks.transport.records import ClaimAnswer
from tasks.transport.scripts import call


@pytest.fixture
def full(work: Any) -> list[str]:
    """A queue that may hold two tasks, and does."""
    pool.bound("actions", max_queued=2)
    return [pool.add(work.note.s(text)).id for text in "ab"]


def test_a_full_queue_takes_no_new_work_whoever_sends_it(work: Any, full: list[str]) -> None:
    # Given a full queue
    # When more is sent, in each of the ways to send
    ways: list[Callable[[], Any]] = [
        lambda: pool.add(work.note.s("c")),
        lambda: pool.add_many([work.note.s("c")]),
        lambda: work.note.delay("c"),
        lambda: work.note.apply_async(["c"], countdown=60),
        lambda: app.send_task("pool.note", ["c"]),
    ]

    # Then the error says how full it is, and nothing was added
    for send in ways:
        with pytest.raises(
            QueueFull, match=r"Queue actions takes no new work: it holds 2 tasks, and its max_queued is 2"
        ):
            send()
    assert [task.id for task in pool.list_("actions")] == full


def test_a_batch_that_does_not_fit_is_refused_whole(work: Any) -> None:
    # Given a queue that has room for two more
    pool.bound("actions", max_queued=3)
    pool.add(work.note.s("a"))

    # When three are added at once, then none is
    with pytest.raises(QueueFull):
        pool.add_many([work.note.s(text) for text in "bcd"])
    assert pool.stats().ready == 1

    # And two fit
    pool.add_many([work.note.s(text) for text in "bc"])
    assert pool.stats().ready == 3


def test_bounds_come_from_the_settings_unless_the_queue_has_its_own(
    work: Any, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a setting that bounds every queue
    monkeypatch.setenv("FLEETRING_MAX_QUEUED", "1")
    app.reconfigure()
    try:
        assert (pool.stats().max_queued, pool.stats().max_parked) == (1, None)
        pool.add(work.note.s("a"))
        with pytest.raises(QueueFull, match="max_queued is 1"):
            pool.add(work.note.s("b"))

        # When a queue gets a bound of its own, then that one counts; 0 is none
        pool.bound("actions", max_queued=0)
        pool.add(work.note.s("b"))
        assert pool.stats().max_queued is None

        # And without one, the setting's again
        pool.bound("actions")
        with pytest.raises(QueueFull):
            pool.add(work.note.s("c"))
        assert not broker.exists("fleetring:bounds")
    finally:
        monkeypatch.delenv("FLEETRING_MAX_QUEUED")
        app.reconfigure()


def test_too_many_parked_tasks_stop_new_work(work: Any, broker: redis.Redis) -> None:
    # Given a queue that may hold one parked task, and does
    parked = pool.add(work.note.s("a"))
    with app.broker_client() as client:
        answer = ClaimAnswer.read(
            call(client, "claim", "w.1", "0", 60_000_000, 0, 5, 0, 1, 1, 0, -20, "0", "0", "actions")
        )
        assert answer
        call(client, "park", "w.1", answer.given[0].member, "1 actions")
    pool.bound("actions", max_parked=1)

    # When new work comes, then it is refused
    with pytest.raises(QueueFull, match="it holds 1 parked tasks, and its max_parked is 1"):
        pool.add(work.note.s("b"))

    # And the parked one may go on
    with app.queues() as queues:
        assert queues.unpark(parked.id) == []
    pool.add(work.note.s("b"))


@pytest.mark.system
def test_accepted_work_is_never_refused(
    work: Any,
    start_worker: Callable[..., Any],
    journal: Callable[..., Any],
    wait_until: Callable[..., Any],
    open_door: Callable[[str], int],
) -> None:
    # Given a queue that is full with tasks that defer themselves, add children, and go on as a chain
    deferred, parent = pool.add(work.defer_once.s("x", delay=0)), pool.add(work.add_a_child.s("gate"))
    chained = chain(work.note.si("first"), work.note.si("second"))()
    pool.bound("actions", max_queued=1)

    # When they run
    start_worker()
    open_door("gate")

    # Then all that belongs to them is taken
    assert deferred.get(timeout=20) == "x"
    assert chained.get(timeout=20) == "second"
    parent.get(timeout=20)
    wait_until(lambda: "child" in [entry["text"] for entry in journal("ran")])


def test_a_bound_that_is_no_number_is_refused(work: Any) -> None:
    for wrong in (-1, 1.5, True, "many"):
        with pytest.raises(InvalidArguments, match="is not possible"):
            pool.bound("actions", max_queued=wrong)  # type: ignore[arg-type]  # that is the test


@pytest.mark.system
def test_a_worker_of_four_slots_keeps_one_for_urgent_tasks(
    work: Any,
    start_worker: Callable[..., Any],
    journal: Callable[..., Any],
    wait_until: Callable[..., Any],
    open_door: Callable[[str], int],
) -> None:
    # Given a worker with four slots, and as many tasks that last
    start_worker("--pool", "threads", "--concurrency", "4")
    for number in range(4):
        pool.add(work.hold.s(f"door{number}"))
    wait_until(lambda: len(journal("began")) == 3)

    # When an urgent task comes
    urgent = pool.add(work.note.s("now"), priority=Priority.URGENT)

    # Then it runs at once, in the slot that the fourth one did not get
    assert urgent.get(timeout=20) == "now"
    assert len(journal("began")) == 3
    assert pool.stats().ready == 1

    # And the fourth one runs as soon as another has ended
    open_door("door0")
    wait_until(lambda: len(journal("began")) == 4)
    for number in range(1, 4):
        open_door(f"door{number}")
