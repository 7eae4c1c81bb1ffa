"""Actions whose nodes are busy wait outside of every slot, and run when the lock is theirs."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from celery import chord

from locking import LockMode
from tasks import Priority, app, node_action, pool, task_manager
from tasks.errors import InvalidOnBusy
from tests.parking.looking import parked

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("clean")]

Wait = Callable[..., Any]
Ids = Callable[[], list[str]]
Door = Callable[[str], int]


def test_a_busy_node_costs_no_slot_and_its_actions_run_in_order(
    actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait
) -> None:
    # Given two slots, one action that holds a node, and five more for it
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    waiting = [actions.hold.delay("node-1") for _ in range(5)]
    wait_until(lambda: parked(*waiting))

    # Then an action for another node has a slot, and the state of a parked one tells who is in its way
    assert actions.hold.delay("node-2").get(timeout=60) == "worked"
    assert waiting[0].state == "RETRY"
    assert "node:node-1 is held exclusive by" in str(waiting[0].result)
    assert pool.stats().parked == 5
    assert [waiter.task for waiter in app.runtime.locks.waiters("node:node-1")] == [task.id for task in waiting]

    # When the node is free, then all run, in their order
    open_door("a")
    assert [task.get(timeout=60) for task in waiting] == ["worked"] * 5
    assert [task_id for task_id in began() if task_id in {task.id for task in waiting}] == [task.id for task in waiting]


def test_fences_grow_from_holder_to_holder(
    actions: ModuleType, journal: Callable[..., list[dict[str, Any]]], wait_until: Wait
) -> None:
    done = [actions.hold.delay("node-1", seconds=0.02) for _ in range(8)]
    for result in done:
        result.get(timeout=60)
    fences = [entry["fence"] for entry in journal("began")]
    assert fences == sorted(set(fences))
    events = [entry["event"] for entry in journal()]
    assert events == ["began", "ended"] * 8, "never two at once"


def test_a_more_urgent_action_that_came_later_has_the_lock_first(
    actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait
) -> None:
    # Given a holder, and actions of three priorities behind it (ganeti issue 803: the first asker had the lock)
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    low = actions.hold.apply_async(["node-1"], priority=Priority.LOW)
    normal = actions.hold.delay("node-1")
    wait_until(lambda: parked(low, normal))
    urgent = actions.hold.apply_async(["node-1"], priority=Priority.URGENT)
    wait_until(lambda: parked(urgent))

    # When one of them is re-prioritised while it is parked, then it follows
    lowest = actions.hold.delay("node-1")
    wait_until(lambda: parked(lowest))
    assert pool.change_priority(lowest.id, Priority.IDLE) == "parked"

    # Then they run by priority
    open_door("a")
    for result in (urgent, normal, low, lowest):
        result.get(timeout=60)
    assert began() == [first.id, urgent.id, normal.id, low.id, lowest.id]


def test_an_urgent_action_on_many_nodes_is_not_passed_by_smaller_ones(
    actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait
) -> None:
    # Given one node that is held, and an urgent action that needs it and two more (ganeti issue 797: smaller jobs, one
    # after another, kept a job out that needed more)
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    urgent = actions.hold.apply_async([["node-1", "node-2", "node-3"]], priority=Priority.URGENT)
    wait_until(lambda: parked(urgent))

    # When small ones come for the nodes that are free, then they stand behind it
    small = [actions.hold.delay(f"node-{number}") for number in (2, 3, 2)]
    wait_until(lambda: parked(*small))

    # And the urgent one has all of its nodes at once, before them
    open_door("a")
    for result in (urgent, *small):
        result.get(timeout=60)
    assert began()[:2] == [first.id, urgent.id]


def test_sharers_come_in_together(actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait) -> None:
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    sharers = [actions.share.delay("node-1", "b") for _ in range(2)]
    wait_until(lambda: parked(*sharers))
    open_door("a")
    wait_until(lambda: len(began()) == 3)
    open_door("b")
    open_door("b")
    assert [sharer.get(timeout=60) for sharer in sharers] == ["worked", "worked"]


def test_a_parked_action_that_is_cancelled_leaves_the_queue_of_its_lock(
    actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait
) -> None:
    # Given a holder and two parked actions
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    gone, stays = actions.hold.delay("node-1"), actions.hold.delay("node-1")
    wait_until(lambda: parked(gone, stays))

    # When the first of them is cancelled
    assert pool.cancel(gone.id) == "parked"

    # Then it is out of both queues, and the other one runs
    assert gone.state == "REVOKED"
    assert [waiter.task for waiter in app.runtime.locks.waiters("node:node-1")] == [stays.id]
    open_door("a")
    assert stays.get(timeout=60) == "worked"
    assert gone.id not in began()


def test_a_lock_that_was_granted_to_a_task_that_no_longer_lives_goes_on_to_the_next(
    actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait, broker: Any
) -> None:
    # Given parked actions whose messages somebody deletes from the broker
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    gone = [actions.hold.delay("node-1") for _ in range(3)]
    wait_until(lambda: parked(*gone))
    last = actions.hold.delay("node-1")
    wait_until(lambda: parked(last))
    for task in gone:
        broker.hdel("fleetring:q:actions:tasks", task.id)
        for member in broker.zrange("fleetring:q:actions:parked", 0, -1):
            if member.endswith(task.id):
                broker.zrem("fleetring:q:actions:parked", member)

    # When the lock is released, then the first that lives has it at once
    open_door("a")
    assert last.get(timeout=60) == "worked"


def test_code_outside_of_tasks_puts_parked_actions_back_when_it_releases(
    actions: ModuleType, began: Ids, wait_until: Wait
) -> None:
    # Given application code that holds two nodes
    with task_manager.acquire(["node-1", "node-2"], purpose="replace the switch"):
        waiting = [actions.hold.delay("node-2"), actions.hold.delay(["node-1", "node-2", "node-3"])]
        wait_until(lambda: parked(*waiting))
        assert "replace the switch" in str(waiting[0].result)
        assert began() == []

    # Then they run when it is done
    assert [task.get(timeout=60) for task in waiting] == ["worked", "worked"]


def test_chords_and_chains_go_on_through_parked_tasks(
    actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait
) -> None:
    # Given a chord whose members are for one node
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    gathered = chord([actions.hold.si("node-1"), actions.hold.si("node-1"), actions.hold.si("node-2")])(
        actions.gather.s()
    )
    chained = (actions.hold.si("node-1") | actions.hold.si("node-2")).delay()
    wait_until(lambda: pool.stats().parked == 3)

    # Then the callback comes when all of them have ended
    open_door("a")
    assert gathered.get(timeout=60) == ["worked"] * 3
    assert chained.get(timeout=60) == "worked"


def test_a_parked_action_that_expires_is_never_run(
    actions: ModuleType, began: Ids, open_door: Door, wait_until: Wait
) -> None:
    first = actions.hold.delay("node-1", "a")
    wait_until(lambda: began() == [first.id])
    late = actions.hold.apply_async(["node-1"], expires=1)
    wait_until(lambda: parked(late))
    wait_until(lambda: late.state == "REVOKED")
    open_door("a")
    assert actions.hold.delay("node-1").get(timeout=60) == "worked"
    assert late.id not in began()


def test_what_an_action_does_when_its_nodes_are_busy_is_checked_where_it_is_declared() -> None:
    with pytest.raises(InvalidOnBusy, match="on_busy='defer'; legal are park, raise, skip"):
        node_action(on_busy="defer")  # type: ignore[arg-type]  # on purpose


def test_an_action_that_shares_is_let_in_beside_a_shared_holder(
    actions: ModuleType, began: Ids, wait_until: Wait
) -> None:
    with app.runtime.locks.acquire("node:node-1", LockMode.SHARED):
        assert actions.share.delay("node-1").get(timeout=60) == "worked"
        exclusive = actions.hold.delay("node-1")
        wait_until(lambda: parked(exclusive))
    assert exclusive.get(timeout=60) == "worked"
