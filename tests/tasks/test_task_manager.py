import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, update

from locking import ExclusiveLockRequired, LockLost, LockMode, LockTimeout, ResourceLocked
from tasks import app, task_manager
from tasks.drivers import BootDevice
from tasks.errors import InvalidArguments, InvalidOnBusy, NoNodesGiven
from tasks.inventory import ConcurrentChange, InventoryError, Node, UnknownNode


def change_row(name: str, **columns: Any) -> None:
    """Change a node's row as an import or an operator does, without its lock."""
    with app.runtime.database.session() as session:
        session.execute(update(Node).where(Node.name == name).values(**columns))


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


# -- busy nodes


def test_who_waits_gets_the_nodes_when_they_are_free(fleet: Any, hold: Callable[..., Any]) -> None:
    # Given a busy node whose holder leaves soon
    fleet.add_node("node-1")
    holder = hold("node-1", owner="somebody")
    threading.Timer(0.2, holder.release).start()

    # When somebody waits for it, then it is theirs
    with task_manager.acquire("node-1", on_busy="wait") as task:
        assert task.node.name == "node-1"


def test_who_waits_gives_up_after_the_time_that_it_has(fleet: Any, hold: Callable[..., Any]) -> None:
    fleet.add_node("node-1")
    with hold("node-1", owner="somebody", purpose="flash"), pytest.raises(LockTimeout, match="flash"):
        task_manager.acquire("node-1", on_busy="wait", wait=0.1)


def test_who_skips_gets_a_manager_that_is_false_and_says_who_holds_the_nodes(
    fleet: Any, hold: Callable[..., Any]
) -> None:
    fleet.add_node("node-1")
    with hold("node-1", purpose="flash"), task_manager.acquire("node-1", on_busy="skip") as task:
        assert not task
        assert task.nodes == []
        assert "flash" in str(task.busy)
        with pytest.raises(AttributeError, match="it skipped them"):
            _ = task.node
        with pytest.raises(ResourceLocked):
            task.lock.ensure()
    with task_manager.acquire("node-1", on_busy="skip") as task:
        assert task


def test_who_observes_reads_beside_the_holder_and_can_tell_whether_it_stayed_true(
    fleet: Any, hold: Callable[..., Any]
) -> None:
    # Given a busy node
    fleet.add_node("node-1")
    holder = hold("node-1")

    # When it is observed, then its row and its machine can be read, and nothing can be changed
    with task_manager.acquire("node-1", on_busy="observe") as task:
        assert task.driver.power_state() == "off"
        with pytest.raises(ExclusiveLockRequired):
            task.save(task.node, boot_device="usb")
        with pytest.raises(ExclusiveLockRequired):
            task.driver.set_boot_device(BootDevice.USB)
        assert task.validate()

        # When somebody else takes the node meanwhile, then what was read may be wrong, and it shows
        holder.release()
        with hold("node-1"):
            assert not task.validate()

        # When the observer wants to change it after all, then it takes the lock and loads anew
        change_row("node-1", boot_device="pxe")
        task.upgrade_lock()
        assert task.node.boot_device == "pxe"
        task.save(task.node, boot_device="disk")
    assert fleet.node("node-1").boot_device == "disk"
    assert app.runtime.locks.list() == ()


def test_observing_from_the_start_keeps_nobody_out(fleet: Any, hold: Callable[..., Any]) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire("node-1", mode=LockMode.OBSERVE) as task, hold("node-1"):
        assert task.shared


@pytest.mark.parametrize(
    ("options", "error", "explanation"),
    [
        ({"on_busy": "park"}, InvalidOnBusy, "'park'; legal are raise, wait, skip, observe; only an action can be"),
        ({"on_busy": "panic"}, InvalidOnBusy, "'panic'; legal are raise"),
        ({"shared": True, "mode": LockMode.EXCLUSIVE}, InvalidArguments, "contradict"),
        ({"mode": "exclusive"}, InvalidArguments, "mode='exclusive'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_locked(
    fleet: Any, options: dict[str, Any], error: type[Exception], explanation: str
) -> None:
    fleet.add_node("node-1")
    with pytest.raises(error, match=explanation):
        task_manager.acquire("node-1", **options)
    assert app.runtime.locks.list() == ()


def test_something_else_than_names_is_refused(fleet: Any) -> None:
    with pytest.raises(InvalidArguments, match="got 7"):
        task_manager.acquire(["node-1", 7])  # type: ignore[list-item]


# -- changing the lock


def test_an_upgrade_loads_everything_anew(fleet: Any) -> None:
    # Given a sharer who has loaded node and driver
    fleet.add_node("node-1")
    with task_manager.acquire("node-1", shared=True) as task:
        old = task.driver

        # When the row changes and the lock is upgraded
        change_row("node-1", boot_device="pxe")
        task.upgrade_lock()

        # Then nothing of before is left
        assert not task.shared
        assert task.node.boot_device == "pxe"
        assert task.driver is not old


def test_an_upgrade_beside_other_sharers_fails_and_keeps_the_shared_lock(fleet: Any, hold: Callable[..., Any]) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire("node-1", shared=True) as task, hold("node-1", mode=LockMode.SHARED):
        with pytest.raises(ResourceLocked):
            task.upgrade_lock()
        task.lock.ensure()
        assert task.shared


def test_who_yields_lets_sharers_in_and_takes_the_lock_back(fleet: Any, hold: Callable[..., Any]) -> None:
    # Given a holder who waits for its machine to boot
    fleet.add_node("node-1")
    with task_manager.acquire("node-1", purpose="boot") as task:
        with task.yielding():
            # When a sharer comes, then it may look and write; who needs the node alone stays out
            with task_manager.acquire("node-1", shared=True) as guest:
                guest.save(guest.node, boot_device="pxe")
            with pytest.raises(ResourceLocked, match="boot"):
                hold("node-1")

        # Then the holder has the node to itself again, as it is now
        assert task.node.boot_device == "pxe"
        with pytest.raises(ResourceLocked):
            hold("node-1", mode=LockMode.SHARED)
        task.save(task.node, boot_device="disk")


def test_who_yields_to_a_guest_that_stays_says_so_and_holds_the_lock_no_more_alone(
    fleet: Any, hold: Callable[..., Any]
) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire("node-1") as task:
        with pytest.raises(LockTimeout), task.yielding(wait=0.1):
            guest = hold("node-1", mode=LockMode.SHARED)
        assert task.shared
        with pytest.raises(ZeroDivisionError) as seen, task.yielding(wait=0.1):
            raise ZeroDivisionError
        guest.release()
    assert "could not be taken back" in seen.value.__notes__[0]


# -- the state of nodes


def test_a_write_leaves_alone_what_others_wrote_into_other_columns(fleet: Any) -> None:
    # Given a holder, and an operator who changes the row without the lock
    fleet.add_node("node-1")
    with task_manager.acquire("node-1") as task:
        change_row("node-1", maintenance=True)

        # When the holder writes, then both changes stand, and the holder knows of both
        task.save(task.node, boot_device="pxe")
        assert task.node.maintenance
        task.save(task.node, boot_device="disk")
    row = fleet.node("node-1")
    assert (row.maintenance, row.boot_device) == (True, "disk")


def test_a_write_over_a_change_that_the_task_has_not_seen_is_refused(fleet: Any) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire("node-1") as task:
        change_row("node-1", boot_device="usb")
        with pytest.raises(ConcurrentChange, match=r"node-1: boot_device changed .*\(version 1, now 2\)"):
            task.save(task.node, boot_device="pxe", power_state="on")
    row = fleet.node("node-1")
    assert (row.boot_device, row.power_state) == ("usb", None)


def test_a_node_that_was_deleted_meanwhile_is_named(fleet: Any) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire("node-1") as task:
        with app.runtime.database.session() as session:
            session.execute(delete(Node))
        for write in (task.save, task.overwrite):
            with pytest.raises(UnknownNode, match="'node-1'"):
                write(task.node, boot_device="pxe")
        with pytest.raises(UnknownNode):
            task.reload()
    assert app.runtime.locks.list() == ()


@pytest.mark.parametrize("column", ["colour", "fence", "version", "name"])
def test_only_columns_that_are_a_tasks_to_write_can_be_written(fleet: Any, column: str) -> None:
    fleet.add_node("node-1")
    with task_manager.acquire("node-1") as task, pytest.raises(InventoryError, match=f"can't write {column}"):
        task.save(task.node, **{column: "1"})


def test_a_holder_that_lost_its_lock_changes_neither_rows_nor_machines_and_says_so(fleet: Any) -> None:
    # Given a holder whose lock is taken away, and who does not know it yet
    fleet.add_node("node-1")
    task = task_manager.acquire("node-1")
    app.runtime.locks.break_("node:node-1", "a test needs it")
    with task_manager.acquire("node-1") as usurper:
        usurper.save(usurper.node, boot_device="disk")

    # When it writes, then the fence keeps it out
    with pytest.raises(LockLost):
        task.save(task.node, power_state="on")

    # When it has heard of the loss, then its drivers refuse, too
    task.lock.lose("a test needs it")
    with pytest.raises(LockLost):
        task.driver.set_boot_device(BootDevice.USB)
    assert not task.validate()
    assert fleet.node("node-1").power_state is None


def test_a_block_that_never_noticed_the_loss_of_its_lock_does_not_end_well(fleet: Any) -> None:
    fleet.add_node("node-1")
    with pytest.raises(LockLost), task_manager.acquire("node-1"):
        app.runtime.locks.break_("node:node-1", "a test needs it")


def test_nodes_stay_closed_for_a_while_after_their_holder_died(fleet: Any, hold: Callable[..., Any]) -> None:
    # Given a holder that is known to be dead
    fleet.add_node("node-1")
    task_manager.acquire("node-1")
    app.runtime.locks.reap(app.runtime.locks.owner)

    # When somebody wants its node at once, then what the dead one sent last comes first
    with pytest.raises(ResourceLocked, match="its lock delay runs"):
        hold("node-1", owner="somebody")
    hold("node-1", owner="somebody", wait=10.0).release()
