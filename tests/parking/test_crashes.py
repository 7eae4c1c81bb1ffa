"""Whatever dies between two steps, a parked action goes on within seconds, and nothing runs twice at once."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine, inspect, text

from locking import LockLost, LockManager
from tasks import app, task_manager
from tasks.parking import ticket_of
from tests.parking.looking import parked

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("clean")]

Wait = Callable[..., Any]
Ids = Callable[[], list[str]]
Door = Callable[[str], int]
Journal = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def one_at_a_time(journal: Journal) -> Callable[..., bool]:
    """Tells whether no body began on a node before the one before it had ended, those aside that were killed."""

    def look(killed: str = "") -> bool:
        events = [(entry["event"], entry["id"]) for entry in journal() if entry["id"] != killed]
        pairs = zip(events[::2], events[1::2], strict=True)
        fences = [entry["fence"] for entry in journal("began")]
        return fences == sorted(set(fences)) and all(
            first == ("began", task) and second == ("ended", task) for first, second in pairs for task in (first[1],)
        )

    return look


def test_a_releaser_that_dies_after_its_grant_holds_nobody_up(
    actions: ModuleType, lock_url: str, began: Ids, one_at_a_time: Callable[..., bool], wait_until: Wait
) -> None:
    # Given a holder who will not tell whom it grants the lock: as if it were killed after the script
    with LockManager.from_url(lock_url) as mute:
        held = mute.acquire("node:node-1")
        waiting = [actions.hold.delay("node-1") for _ in range(3)]
        wait_until(lambda: parked(*waiting))

        # When it releases the lock
        held.release()

    # Then the reconciler finds the grant, and all run in their order
    assert [result.get(timeout=30) for result in waiting] == ["worked"] * 3
    assert began() == [result.id for result in waiting]
    assert one_at_a_time()


def test_a_parked_action_whose_place_in_the_lock_is_lost_asks_anew(
    actions: ModuleType, began: Ids, one_at_a_time: Callable[..., bool], wait_until: Wait
) -> None:
    # Given two parked actions
    with task_manager.acquire("node-1"):
        waiting = [actions.hold.delay("node-1") for _ in range(2)]
        wait_until(lambda: parked(*waiting))

        # When the place of the first is lost, then it is back soon, before the second
        app.runtime.locks.cancel(ticket_of(waiting[0].id))
        order = [result.id for result in waiting]
        wait_until(lambda: [waiter.task for waiter in app.runtime.locks.waiters("node:node-1")] == order)
        wait_until(lambda: parked(*waiting))
        assert began() == []
    assert [result.get(timeout=30) for result in waiting] == ["worked"] * 2
    assert began() == order
    assert one_at_a_time()


def test_actions_whose_locks_were_lost_with_their_server_go_on_in_their_order(
    actions: ModuleType, lock_url: str, began: Ids, one_at_a_time: Callable[..., bool], wait_until: Wait
) -> None:
    # Given parked actions behind a holder
    with LockManager.from_url(lock_url) as manager:
        manager.acquire("node:node-1")
        waiting = [actions.hold.delay("node-1") for _ in range(4)]
        wait_until(lambda: parked(*waiting))

        # When everything that the store of locks knew is gone
        forget_all(lock_url)

        # Then they run, one after another
        assert [result.get(timeout=30) for result in waiting] == ["worked"] * 4
    assert began() == [result.id for result in waiting]
    assert one_at_a_time()


def forget_all(lock_url: str) -> None:
    if lock_url.startswith("redis"):
        with redis.Redis.from_url(lock_url) as client:
            client.delete(*client.keys("{locks}:*"))
        return
    engine = create_engine(lock_url)
    with engine.begin() as connection:
        for table in inspect(engine).get_table_names():
            if table.startswith("locks_"):
                connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - a name of our own
    engine.dispose()


def test_a_lock_that_an_operator_breaks_goes_to_the_parked_action_and_its_holder_fails(
    actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait
) -> None:
    # Given an action that holds a node, and one that waits for it
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    second = actions.hold.delay("node-1")
    wait_until(lambda: parked(second))

    # When an operator breaks the lock, then the second has it at once
    app.runtime.locks.break_("node:node-1", "the holder hangs")
    assert second.get(timeout=30) == "worked"

    # And the first one, when it ends, says that it had lost it
    open_door("a")
    with pytest.raises(LockLost):
        first.get(timeout=30)


@pytest.fixture
def victim(start_worker: Callable[..., Any]) -> Any:
    """A second worker."""
    return start_worker("-c", "2")


def test_a_worker_that_is_killed_while_its_actions_are_put_back_loses_none(
    actions: ModuleType, victim: Any, journal: Journal, open_door: Door, wait_until: Wait
) -> None:
    # Given actions parked behind one that runs, and two workers
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: [entry["id"] for entry in journal("began")] == [first.id])
    waiting = [actions.hold.delay("node-1") for _ in range(12)]
    wait_until(lambda: parked(*waiting))

    # When one of the workers is killed while they are put back, one after another
    open_door("a")
    wait_until(lambda: len(journal("began")) > 3)
    victim.kill()

    # Then all of them run, never two at once
    assert [result.get(timeout=60) for result in waiting] == ["worked"] * 12
    fences = [entry["fence"] for entry in journal("began")]
    assert fences == sorted(set(fences))
