import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks.drivers import (
    BootDevice,
    Centre,
    DriverRejected,
    DriverTimeout,
    DriverUnreachable,
    InvalidDriverInfo,
    PowerState,
)
from tasks.drivers.fake import FakeNodeDriver, FakeSubcloudDriver


def _node(tmp_path: Path, **info: Any) -> FakeNodeDriver:
    return FakeNodeDriver("node-1", {"state_dir": str(tmp_path), **info})


def test_a_power_change_takes_its_time_and_is_waited_for(tmp_path: Path) -> None:
    node = _node(tmp_path, power_delay=0.1)
    assert node.power_state() is PowerState.OFF
    node.request_power_state(PowerState.ON)
    assert node.power_state() is PowerState.OFF
    assert node.wait_for_power_state(PowerState.ON, 5) is PowerState.ON
    node.request_power_state(PowerState.REBOOTING)
    assert node.power_state() is PowerState.OFF
    assert node.wait_for_power_state(PowerState.REBOOTING, 5) is PowerState.ON


def test_a_machine_that_takes_too_long_is_told(tmp_path: Path) -> None:
    node = _node(tmp_path, power_delay=[30, 60])
    node.request_power_state(PowerState.ON)
    with pytest.raises(DriverTimeout, match=r"node-1 \(fake\): not on after 0.1 s: last seen off"):
        node.wait_for_power_state(PowerState.ON, 0.1)


def test_other_processes_see_the_same_machine(tmp_path: Path) -> None:
    _node(tmp_path).set_boot_device(BootDevice.PXE)
    script = (
        "import sys; from tasks.drivers.fake import FakeNodeDriver; "
        "node = FakeNodeDriver('node-1', {'state_dir': sys.argv[1]}); print(node.boot_device()); "
        "node.request_power_state(node.power_state().ON)"
    )
    seen = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, timeout=30)
    assert seen.stdout.strip() == b"pxe"
    assert _node(tmp_path).power_state() is PowerState.ON


def test_nothing_is_forgotten_when_many_change_the_same_machine(tmp_path: Path) -> None:
    def inspect_often(_client: int) -> None:
        for _ in range(25):
            _node(tmp_path).inspect()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(inspect_often, range(4)))
    (state,) = tmp_path.glob("*.json")
    assert json.loads(state.read_text())["calls"] == {"inspect": 100}


def test_without_a_folder_the_state_lives_in_the_process() -> None:
    FakeNodeDriver("node-in-memory", {}).set_boot_device(BootDevice.USB, persistent=True)
    assert FakeNodeDriver("node-in-memory", {}).boot_device() is BootDevice.USB
    assert FakeNodeDriver("node-elsewhere", {}).boot_device() is None


def test_it_fails_as_often_as_it_is_told_to(tmp_path: Path) -> None:
    node = _node(tmp_path, fail_first={"inspect": 2}, fail={"power_state": 1.0, "boot_device": 0.0})
    for _ in range(2):
        with pytest.raises(DriverRejected, match="inspect is set to fail"):
            node.inspect()
    assert node.inspect()["power_state"] == "off"
    assert node.boot_device() is None
    with pytest.raises(DriverRejected):
        node.power_state()
    with pytest.raises(DriverRejected):
        _node(tmp_path, fail=["set_boot_device"]).set_boot_device(BootDevice.PXE)
    with pytest.raises(DriverUnreachable):
        _node(tmp_path, unreachable=True).power_state()


def test_an_operation_that_does_not_exist_cannot_be_told_to_fail(tmp_path: Path) -> None:
    with pytest.raises(InvalidDriverInfo, match=r"unknown operation \['insepct'\]; there are \['boot_device'"):
        _node(tmp_path, fail=["insepct"])


def test_the_journal_tells_begin_and_end_of_each_operation(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    node = _node(tmp_path, journal=str(journal), delay={"inspect": 0.05}, fail=["boot_device"])
    node.inspect()
    with pytest.raises(DriverRejected):
        node.boot_device()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(line["operation"], line["event"]) for line in lines] == [
        ("inspect", "begin"),
        ("inspect", "end"),
        ("boot_device", "begin"),
        ("boot_device", "failed"),
    ]
    assert lines[1]["at"] - lines[0]["at"] >= 0.05
    assert lines[0]["node"] == "node-1"


def test_nothing_is_changed_once_the_guard_says_no(tmp_path: Path) -> None:
    class LockLost(Exception):
        pass

    def refuse() -> None:
        raise LockLost

    info = {"state_dir": str(tmp_path)}
    node = FakeNodeDriver("node-1", info, guard=refuse)
    subcloud = FakeSubcloudDriver("subcloud-1", info, Centre(""), guard=refuse)
    for change in (lambda: node.request_power_state(PowerState.ON), subcloud.sync_identity, subcloud.enable):
        with pytest.raises(LockLost):
            change()
    assert node.power_state() is PowerState.OFF


def test_a_subcloud_takes_its_steps_and_fails_them_as_told(tmp_path: Path) -> None:
    info = {"state_dir": str(tmp_path), "delay": {"distribute_keys": 0.05}, "fail_first": {"sync_identity": 1}}
    with FakeSubcloudDriver("subcloud-1", info, Centre("")) as subcloud:
        before = subcloud.digest()
        with pytest.raises(DriverRejected, match="subcloud-1"):
            subcloud.sync_identity()
        assert subcloud.digest() == before
        assert subcloud.sync_identity().total == 1
        assert subcloud.sync_identity().total == 0
        began = time.monotonic()
        subcloud.distribute_keys()
        assert time.monotonic() - began >= 0.05
        subcloud.reset_audit()
        subcloud.enable()
    with FakeSubcloudDriver("subcloud-1", info, Centre("")) as again:
        assert again.digest() != before
