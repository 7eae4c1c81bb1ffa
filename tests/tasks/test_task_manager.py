from collections.abc import Callable
from typing import Any

import pytest

from locking import ResourceLocked
from tasks import app, task_manager
from tasks.errors import NoNodesGiven
from tasks.inventory import UnknownNode


def test_the_lock_is_taken_at_the_call_and_released_at_the_end_of_the_block(
    fleet: Any, hold: Callable[..., Any]
) -> None:
    # Given a node that is acquired, before any with
    fleet.add_node("node-1")
    task = task_manager.acquire("node-1", purpose="repair")
    with pytest.raises(ResourceLocked, match="repair"):
        hold("node-1")

    # When the block ends, then it is free
    with task:
        assert task.node.name == "node-1"
    hold("node-1").release()


def test_node_and_driver_are_for_tasks_on_exactly_one_node(fleet: Any) -> None:
    fleet.add_node("node-1")
    fleet.add_node("node-2")
    with task_manager.acquire(["node-1", "node-2"]) as task:
        assert [node.name for node in task.nodes] == ["node-1", "node-2"]
        with pytest.raises(AttributeError, match="Multi-node TaskManager has no attribute 'node'"):
            _ = task.node
        with pytest.raises(AttributeError, match="Multi-node TaskManager has no attribute 'driver'"):
            _ = task.driver
        assert task.driver_of(task.nodes[1]).name == "node-2"


@pytest.mark.parametrize("shared", [False, True])
def test_an_empty_set_of_nodes_is_refused_in_both_modes(fleet: Any, shared: bool) -> None:
    with pytest.raises(NoNodesGiven):
        task_manager.acquire([], shared=shared)


def test_any_iterable_of_nodes_will_do(fleet: Any) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire(name for name in ("node-1", "node-1")) as task:
        assert len(task.nodes) == 1


def test_a_release_inside_the_block_does_no_harm(fleet: Any) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire("node-1") as task:
        task.release()
        task.release()
    assert app.runtime.locks.list() == ()


def test_the_error_of_the_body_is_the_one_that_is_seen(fleet: Any) -> None:
    # Given a body that loses its lock, which the release will find, and then fails by itself
    fleet.add_node("node-1")

    def body() -> None:
        with task_manager.acquire("node-1") as task:
            app.runtime.locks.break_("node:node-1", "a test needs it")
            task.driver.power_state()
            raise ZeroDivisionError

    # When it runs, then its own error comes out
    with pytest.raises(ZeroDivisionError):
        body()


def test_a_node_that_cannot_be_loaded_stays_free(fleet: Any) -> None:
    with pytest.raises(UnknownNode):
        task_manager.acquire("ghost")
    assert app.runtime.locks.list() == ()


def test_the_same_process_asking_again_is_refused(fleet: Any) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire("node-1"), pytest.raises(ResourceLocked):
        task_manager.acquire("node-1")
