"""An action on every node of a task, under the lock that the task holds."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from locking import LockError, LockLost, LockMode, ResourceLocked
from tasks import app, pool, task_manager
from tasks.errors import InvalidArguments, InvalidMap, NodesFailed
from tasks.fan_out import HEADER
from tests.processes import wait_until

NODES = ["node-1", "node-2", "node-3"]


@pytest.fixture(autouse=True)
def _third_node(floor: Any) -> None:
    floor.fleet.add_node("node-3")


def test_every_node_gets_a_task_that_works_under_the_lock_of_the_caller(
    floor: Any, actions: Any, hold: Callable[..., Any]
) -> None:
    # Given workers, and three nodes that application code holds
    floor.start_worker("-c", "2")
    with task_manager.acquire(NODES, purpose="a round") as task:
        # When an action is run on each
        states = task.map(actions.probe, "hello")

        # Then its answers are named by node, in their order, and it ran in workers, under the caller's grant
        assert states == {"node-1": "hello node-1", "node-2": "hello node-2", "node-3": "hello node-3"}
        assert list(states) == NODES
        probes = floor.journal("probed")
        assert {probe["fence"] for probe in probes} == {task.lock.fence}
        assert os.getpid() not in {probe["pid"] for probe in probes}
        with pytest.raises(ResourceLocked, match="a round"):
            hold("node-1")

        # Then what they wrote is known here, and can be written on
        assert [node.boot_device for node in task.nodes] == ["pxe"] * 3
        task.save(task.nodes[0], boot_device="disk")

        # When it fails on one node, then that one is named, and the others' answers are not lost
        with pytest.raises(
            NodesFailed, match=r"failed on 1 of 3 nodes: node-2: RuntimeError: node-2 is on fire"
        ) as seen:
            task.map(actions.probe, "hello", bad="node-2")
        assert seen.value.states == {"node-1": "hello node-1", "node-3": "hello node-3"}
        assert isinstance(seen.value.__cause__, ExceptionGroup)
    assert floor.fleet.node("node-2").last_error == "probe failed: node-2 is on fire"
    wait_until(lambda: app.runtime.locks.list() == ())


def test_a_task_in_the_only_slot_runs_its_children_itself(floor: Any, actions: Any) -> None:
    # Given a worker with one slot
    floor.start_worker("-c", "1")

    # When a task there fans out, then it ends: it waits for nobody
    result = actions.probe_all.delay(NODES)
    assert result.get(timeout=60) == {name: f"hello {name}" for name in NODES}
    assert {told["pid"] for told in floor.journal("probed")} == {floor.begun()["pid"]}

    # And each child can be looked up like any other task
    children = result.children or []
    assert {child.state: child.name for child in children} == {"SUCCESS": "handed.probe"}
    assert sorted(child.result for child in children) == [f"hello {name}" for name in NODES]

    # When a child fails, then the task fails, and its caller learns on which node, and why
    with pytest.raises(NodesFailed) as seen:
        actions.probe_all.delay(NODES, bad="node-2").get(timeout=60)
    assert seen.value.errors == {"node-2": "RuntimeError: node-2 is on fire"}
    wait_until(lambda: app.runtime.locks.list() == ())


def test_a_task_runs_itself_what_a_killed_worker_has_left_where_no_other_slot_is(
    floor: Any, actions: Any, open_door: Callable[[str], int]
) -> None:
    # Given a task in the only slot of one worker, one of its two children there, the other one in another worker
    floor.start_worker("-c", "1")
    result = actions.probe_all.delay(["node-1", "node-2"], door="a")
    wait_until(lambda: floor.journal("probed"))
    other = floor.start_worker("-c", "1")
    wait_until(lambda: floor.journal("probed")[1:])

    # When the other worker is killed, and the task has nothing left but to wait
    other.kill()
    open_door("a")

    # Then it runs that child, too
    wait_until(lambda: floor.journal("probed")[2:])
    open_door("a")
    assert result.get(timeout=60) == {"node-1": "hello node-1", "node-2": "hello node-2"}
    first, elsewhere, again = floor.journal("probed")
    assert first["pid"] == again["pid"] == floor.begun()["pid"]
    assert elsewhere["nodes"] == again["nodes"] == ["node-1"]


def test_children_of_a_killed_task_do_nothing_more(floor: Any, actions: Any, open_door: Callable[[str], int]) -> None:
    # Given children whose parent has gone: one in the middle of its work, one in the queue
    with task_manager.acquire(NODES) as task:
        floor.start_worker("-c", "1")
        under = {"headers": {HEADER: task.lock.fence}}
        begun = actions.probe.apply_async(["node-1", "hello"], {"door": "a"}, **under)
        wait_until(lambda: floor.journal("probed"))
        late = actions.probe.apply_async(["node-2", "hello"], **under)

    # When they go on, then both find the lock gone, and write nothing
    wait_until(lambda: app.runtime.locks.list() == ())
    open_door("a")
    for child in (begun, late):
        with pytest.raises(LockLost, match="whoever lent it no longer holds"):
            child.get(timeout=60)
    assert len(floor.journal("probed")) == 1
    assert floor.fleet.node("node-1").boot_device is None


def test_what_does_not_start_in_time_is_named_and_never_starts(
    floor: Any, actions: Any, queued: Callable[[], dict[str, int]]
) -> None:
    with task_manager.acquire(NODES) as task, pytest.raises(NodesFailed, match=r"3 of 3 .* node-3: TimeoutError"):
        task.map(actions.probe, "hello", timeout=0.2)
    assert queued() == {}


def test_an_eager_task_runs_its_children_in_place(floor: Any, actions: Any) -> None:
    assert actions.probe_all.apply(args=[NODES], throw=True).get() == {name: f"hello {name}" for name in NODES}
    assert app.runtime.locks.list() == ()


def test_a_borrowed_lock_is_not_the_borrowers_to_change(floor: Any) -> None:
    with task_manager.acquire(NODES, shared=True) as task:
        lent = app.runtime.locks.borrow(task.lock.names, task.lock.fence)
        for change in (lent.upgrade, lent.downgrade, lent.transfer):
            with pytest.raises(LockError, match="is borrowed: only its holder decides"):
                change()
        assert lent.release()
        with pytest.raises(LockLost):
            lent.ensure()
        task.lock.ensure()
        with pytest.raises(LockLost, match="no longer holds node:node-1"):
            app.runtime.locks.borrow("node:node-1", 7)


@pytest.mark.parametrize(
    ("action", "options", "explanation"),
    [
        ("plain", {}, "handed.plain can't run .* it is no node action"),
        ("probe", {"shared": True}, "needs its nodes in the mode exclusive, and they are held in the mode shared"),
        ("look", {"mode": LockMode.OBSERVE}, "held in the mode observe"),
    ],
)
def test_what_cannot_run_on_every_node_is_refused_before_anything_is_sent(
    floor: Any, actions: Any, action: str, options: dict[str, Any], explanation: str
) -> None:
    with task_manager.acquire(NODES, **options) as task, pytest.raises(InvalidMap, match=explanation):
        task.map(getattr(actions, action))
    assert pool.list_() == []


def test_arguments_that_the_action_does_not_take_are_refused_before_anything_is_sent(floor: Any, actions: Any) -> None:
    with task_manager.acquire(NODES) as task, pytest.raises(InvalidArguments, match="missing a required argument"):
        task.map(actions.probe)
    assert pool.list_() == []
