import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, group
from redis import Redis

from locking import LockLost, LockMode, ResourceLocked
from tasks import ActionTask, Priority, app, node_action, pool, task_manager
from tasks.drivers import DriverError
from tasks.errors import InvalidArguments, InvalidPriority, InvalidResult, NoNodesGiven
from tasks.inventory import ConcurrentChange, UnknownNode
from tasks.node_actions import inspect, reboot, set_boot_device, set_power_state, sync_power_state


@node_action(name="tests.write_after_losing")
def write_after_losing(task: ActionTask) -> None:
    """Lose the lock to another holder, who writes; then try to write, too."""
    app.runtime.locks.break_(f"node:{task.node.name}", "a test needs it")
    with task_manager.acquire(task.node.name) as usurper:
        usurper.save(usurper.node, boot_device="disk")
    task.save(task.node, boot_device="usb")


@node_action(name="tests.fail", on_busy="raise")
def fail(task: ActionTask) -> None:
    """Fail with an error that is nobody's fault."""
    raise RuntimeError("the firmware image is torn")


@node_action(name="tests.answer_with_an_object")
def answer_with_an_object(task: ActionTask) -> object:
    """Return what nobody can write down."""
    return {"answer": object()}


def run(action: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an action in this process, with real locks, database and drivers."""
    return action.apply(args=args, kwargs=kwargs, throw=True).get()


def test_power_on_turns_the_machine_on_and_records_it(fleet: Any) -> None:
    # Given a machine that is off
    fleet.add_node("node-1", power_delay=0.05)

    # When it is powered on
    result = run(set_power_state, "node-1", "on")

    # Then hardware, result and inventory agree
    assert result == {"node-1": "on"}
    assert fleet.node("node-1").power_state == "on"
    assert fleet.node("node-1").target_power_state is None
    assert run(inspect, "node-1")["node-1"]["power_state"] == "on"


def test_a_reboot_ends_with_the_machine_on(fleet: Any) -> None:
    fleet.add_node("node-1", power_delay=0.05)
    assert run(reboot, "node-1") == {"node-1": "on"}
    assert fleet.node("node-1").power_state == "on"


def test_an_action_on_several_nodes_reaches_all_of_them_each_once(fleet: Any) -> None:
    # Given two nodes, one of which is named twice, once by its UUID
    fleet.add_node("node-1")
    uuid = fleet.add_node("node-2").uuid

    # When they are set to boot from the network, then each is, once
    assert run(set_boot_device, ["node-2", "node-1", uuid], "pxe") == {"node-2": "pxe", "node-1": "pxe"}
    assert fleet.node("node-1").boot_device == fleet.node("node-2").boot_device == "pxe"


def test_a_busy_node_keeps_the_whole_action_out_and_says_who_holds_it(fleet: Any, hold: Callable[..., Any]) -> None:
    # Given one of two nodes in somebody's hands
    fleet.add_node("node-1")
    fleet.add_node("node-2")
    with hold("node-2", purpose="replace a disk"):
        # When an action wants both
        with pytest.raises(ResourceLocked, match=r"node:node-2 .*replace a disk"):
            run(set_power_state, ["node-1", "node-2"], "on")

        # Then the other one is free
        hold("node-1").release()


def test_a_node_is_the_same_by_name_and_by_uuid(fleet: Any, hold: Callable[..., Any]) -> None:
    uuid = fleet.add_node("node-1").uuid
    with hold("node-1"), pytest.raises(ResourceLocked):
        run(set_power_state, uuid, "on")


def test_shared_actions_run_beside_one_another_but_not_beside_an_exclusive_one(
    fleet: Any, hold: Callable[..., Any]
) -> None:
    fleet.add_node("node-1")
    with hold("node-1", mode=LockMode.SHARED):
        assert run(inspect, "node-1")["node-1"]["cpus"] == 16
        with pytest.raises(ResourceLocked):
            run(set_power_state, "node-1", "on")
    with hold("node-1"), pytest.raises(ResourceLocked):
        run(inspect, "node-1")


def test_a_sharer_does_not_write_over_what_another_sharer_found_before_it_has_seen_it(fleet: Any) -> None:
    # Given a shared holder, and a later sharer that writes first
    fleet.add_node("node-1")
    with task_manager.acquire("node-1", shared=True) as early:
        run(inspect, "node-1")

        # When the earlier one writes the same column, then it is told to look again
        with pytest.raises(ConcurrentChange, match=r"node node-1: properties changed .* reload\(\)"):
            early.save(early.node, properties={"seen": "by the earlier"})

        # When it has looked, or when what it writes owes nothing to the row, then it may
        early.reload()
        early.save(early.node, properties={"seen": "by the earlier"})
        run(inspect, "node-1")
        early.overwrite(early.node, properties={"seen": "again"})
    assert fleet.node("node-1").properties == {"seen": "again"}


def test_an_unknown_node_is_named_and_nothing_stays_locked(fleet: Any) -> None:
    fleet.add_node("node-1")
    with pytest.raises(UnknownNode, match="'ghost'"):
        run(set_power_state, ["node-1", "ghost"], "on")
    assert app.runtime.locks.list() == ()


def test_what_a_bmc_answers_wrongly_is_recorded_on_the_node_and_forgotten_after_a_success(fleet: Any) -> None:
    # Given a BMC that fails once
    fleet.add_node("node-1", fail_first={"request_power_state": 1})

    # When it is asked, then the error is raised and kept in the row, and the node is free
    with pytest.raises(DriverError):
        run(set_power_state, "node-1", "on")
    assert "set_power_state failed" in fleet.node("node-1").last_error
    assert app.runtime.locks.list() == ()

    # When it is asked again, then the row is clean
    run(set_power_state, "node-1", "on")
    assert fleet.node("node-1").last_error is None


def test_any_error_of_a_body_is_recorded_on_every_node(fleet: Any) -> None:
    fleet.add_node("node-1")
    fleet.add_node("node-2")
    with pytest.raises(RuntimeError, match="torn"):
        run(fail, ["node-1", "node-2"])
    assert fleet.node("node-2").last_error == "fail failed: the firmware image is torn"


def test_a_holder_that_lost_its_lock_writes_nothing(fleet: Any) -> None:
    fleet.add_node("node-1")
    with pytest.raises(LockLost):
        run(write_after_losing, "node-1")
    assert fleet.node("node-1").boot_device == "disk"
    assert fleet.node("node-1").last_error is None


def test_power_sync_records_what_the_machine_says_and_skips_busy_nodes(fleet: Any, hold: Callable[..., Any]) -> None:
    fleet.add_node("node-1")
    assert run(sync_power_state, "node-1") == {"node-1": "off"}
    assert fleet.node("node-1").power_state == "off"
    with hold("node-1", purpose="flash"):
        assert "flash" in run(sync_power_state, "node-1")["skipped"]


@pytest.mark.parametrize(
    ("send", "error", "explanation"),
    [
        (lambda: set_power_state.delay("node-1"), InvalidArguments, r"missing.*'target'.*takes \(nodes, target: str\)"),
        (lambda: reboot.delay("node-1", "now"), InvalidArguments, "too many positional arguments"),
        (reboot.apply_async, NoNodesGiven, "was given no node"),
        (lambda: reboot.delay([]), NoNodesGiven, "was given no node"),
        (lambda: reboot.delay([7]), InvalidArguments, r"names or UUIDs of nodes first, got \[7\]"),
        (lambda: pool.add(reboot.s("node-1", "now")), InvalidArguments, "too many positional arguments"),
        (lambda: pool.add_many([reboot.s("node-1"), reboot.s([])]), NoNodesGiven, "was given no node"),
        (lambda: group(reboot.s("node-1", "now")).delay(), InvalidArguments, "too many positional arguments"),
        (chain(reboot.si("node-1"), set_power_state.si("node-1")), InvalidArguments, "missing.*'target'"),
        (chain(reboot.si("node-1"), set_power_state.s(), reboot.s()), InvalidArguments, "missing.*'target'"),
        (chain(reboot.si("node-1"), reboot.si([])), NoNodesGiven, "was given no node"),
        (lambda: reboot.apply_async(["node-1"], priority="high"), InvalidPriority, "'high', which is not an integer"),
        (lambda: reboot.apply_async(["node-1"], priority=True), InvalidPriority, "not an integer"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_sent(
    fleet: Any, send: Callable[[], object], error: type[Exception], explanation: str
) -> None:
    with pytest.raises(error, match=explanation):
        send()
    assert pool.list_() == []


def test_a_result_that_json_cannot_hold_is_a_named_error_of_the_action_and_the_node_is_free(fleet: Any) -> None:
    fleet.add_node("node-1")
    with pytest.raises(InvalidResult, match=r"tests\.answer_with_an_object did its work, but .*object"):
        run(answer_with_an_object, "node-1")
    assert "returned what JSON can't hold" in fleet.node("node-1").last_error
    assert app.runtime.locks.list() == ()


def test_a_broker_that_does_not_answer_is_named_with_what_to_do(fleet: Any) -> None:
    # A process of its own: Celery reads the broker's address once.
    environment = {**os.environ, "FLEETRING_BROKER_URL": "redis://:s3cret@127.0.0.1:1/0"}
    script = "from tasks.node_actions import reboot; reboot.delay('node-1')"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "BrokerUnreachable: the broker redis://:**@127.0.0.1:1/0 does not answer" in done.stderr
    assert "fleetring up" in done.stderr
    assert "s3cret" not in done.stderr


def test_a_message_carries_no_credentials_and_nothing_of_the_inventory(
    fleet: Any, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given BMC credentials and a node
    monkeypatch.setenv("FLEETRING_BMC_PASSWORD", "s3cret")
    fleet.add_node("node-1", journal="/tmp/private")  # noqa: S108 - never opened

    # When an action is sent
    reboot.apply_async(["node-1"], priority=Priority.URGENT)

    # Then everything in Redis about it is the name
    with Redis.from_url(valkey_url, decode_responses=True) as client:
        queued = [text for key in client.keys("*actions*:tasks") for text in client.hvals(key)]
    assert len(queued) == 1
    assert "node-1" in queued[0]
    assert "s3cret" not in queued[0]
    assert "private" not in queued[0]
