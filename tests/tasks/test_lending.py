"""No inversion of priorities: what holds a lock and still has to queue goes as early as who waits for the lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks import Priority, app, pool, task_manager
from tests.processes import wait_until


def test_an_urgent_action_lends_its_priority_to_the_follower_that_holds_its_node(
    floor: Any, actions: Any, open_door: Callable[[str], int]
) -> None:
    # Given one slot that is busy, and a node whose lock was handed to an action that is to come late
    floor.start_worker("-c", "1")
    actions.work.delay("node-2", "a")
    floor.begun()
    with task_manager.acquire("node-1") as task:
        follower = task.spawn_after(actions.work.s("node-1").set(priority=Priority.LOW))

    # And others before it, and an urgent one that needs the node
    others = [actions.work.delay("node-2") for _ in range(3)]
    urgent = actions.work.apply_async(["node-1"], priority=Priority.URGENT)

    # When the slot is free, then the follower goes before the others, and after it the urgent one
    open_door("a")
    for result in (urgent, follower, *others):
        assert result.get(timeout=60) == "done"
    assert [told["nodes"] for told in floor.journal("began")] == [["node-2"], ["node-1"], ["node-1"], *[["node-2"]] * 3]


def test_a_follower_takes_the_priority_of_who_waits_already_also_when_that_one_becomes_more_urgent(
    floor: Any, actions: Any, open_door: Callable[[str], int]
) -> None:
    # Given an action that is parked behind application code, and a busy slot
    floor.start_worker("-c", "1")
    with task_manager.acquire("node-1") as task:
        waiting = actions.work.apply_async(["node-1"], priority=Priority.HIGH)
        wait_until(lambda: pool.find(waiting.id).state == "parked")
        actions.work.delay("node-2", "a")
        floor.begun()

        # When the lock is handed on, then the follower has that priority
        follower = task.spawn_after(actions.work.s("node-1"))
    assert pool.find(follower.id).priority == Priority.HIGH

    # When who waits becomes more urgent, then the follower does, too
    pool.change_priority(waiting.id, Priority.URGENT)
    assert pool.find(follower.id).priority == Priority.URGENT
    open_door("a")
    assert waiting.get(timeout=60) == "done"
    wait_until(lambda: app.runtime.locks.list() == ())


def test_children_on_every_node_have_the_priority_of_who_waits_for_their_parents_lock(
    floor: Any, actions: Any, open_door: Callable[[str], int]
) -> None:
    # Given an urgent action that is parked behind application code, and a busy slot with others in line
    floor.start_worker("-c", "1")
    with task_manager.acquire("node-1") as task:
        waiting = actions.work.apply_async(["node-1"], priority=Priority.URGENT)
        wait_until(lambda: pool.find(waiting.id).state == "parked")
        actions.work.delay("node-2", "a")
        floor.begun()
        others = [actions.work.delay("node-2") for _ in range(2)]

        # When the code runs an action on its nodes
        with ThreadPoolExecutor(1) as thread:
            states = thread.submit(task.map, actions.probe, "hello")
            wait_until(lambda: [child for child in pool.list_("actions", "ready") if child.name == "handed.probe"])
            open_door("a")
            assert states.result(60) == {"node-1": "hello node-1"}

    # Then that went before the others
    assert waiting.get(timeout=60) == "done"
    for result in others:
        result.get(timeout=60)
    assert [entry["event"] for entry in floor.journal()][:3] == ["began", "ended", "probed"]
