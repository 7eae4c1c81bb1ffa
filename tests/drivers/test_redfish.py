import concurrent.futures
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import bcrypt
import pytest

from tasks.cli.redfish_emulator import EmulatorError, RedfishEmulator
from tasks.drivers import (
    BootDevice,
    Credentials,
    CredentialsMissing,
    DriverRejected,
    DriverUnreachable,
    InvalidDriverInfo,
    PowerState,
)
from tasks.drivers.redfish import RedfishDriver

Connect = Callable[..., RedfishDriver]


@pytest.fixture
def connect(emulator: RedfishEmulator) -> Iterator[Connect]:
    """Makes the driver of one of the emulated machines."""
    made: list[RedfishDriver] = []

    def make(number: int, **options: Any) -> RedfishDriver:
        info = {"address": emulator.url, "system": str(UUID(int=number + 1))}
        made.append(RedfishDriver(f"node-{number}", info, **options))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


def test_several_machines_change_their_power_at_the_same_time(connect: Connect) -> None:
    # Given two machines that are off and two that are on
    wanted = {
        connect(0): PowerState.ON,
        connect(1): PowerState.REBOOTING,
        connect(8): PowerState.OFF,
        connect(9): PowerState.REBOOTING,
    }
    assert [driver.power_state() for driver in wanted] == ["off", "off", "on", "on"]
    # When all are asked to change, and then waited for
    seen: list[PowerState] = []
    for driver, target in wanted.items():
        driver.request_power_state(target)
    assert list(wanted)[3].power_state() is PowerState.OFF
    reached = [driver.wait_for_power_state(target, 30, watch=seen.append) for driver, target in wanted.items()]
    # Then each is where it was sent to; a reboot ends with the machine on, wherever it began
    assert reached == [driver.power_state() for driver in wanted] == ["on", "on", "off", "on"]
    assert {"on", "off"} <= set(seen)


def test_a_machine_that_is_there_already_is_left_alone(connect: Connect) -> None:
    guarded: list[int] = []
    driver = connect(2, guard=lambda: guarded.append(1))
    driver.request_power_state(PowerState.OFF)
    assert driver.wait_for_power_state(PowerState.OFF, 0) is PowerState.OFF
    assert guarded == []


def test_nothing_is_changed_once_the_guard_says_no(connect: Connect) -> None:
    class LockLost(Exception):
        pass

    def refuse() -> None:
        raise LockLost

    driver = connect(10, guard=refuse)
    with pytest.raises(LockLost):
        driver.request_power_state(PowerState.OFF)
    with pytest.raises(LockLost):
        driver.set_boot_device(BootDevice.PXE)
    assert (driver.power_state(), driver.boot_device()) == (PowerState.ON, BootDevice.DISK)


def test_thirty_clients_at_once_are_all_served(emulator: RedfishEmulator, connect: Connect) -> None:
    devices = [BootDevice.PXE, BootDevice.CDROM]

    def work(client: int) -> dict[str, Any]:
        # Each machine has its own client that writes; all others read.
        driver = connect(3 + client % 5)
        if client < 5:
            driver.set_boot_device(devices[client % 2], persistent=True)
        return driver.inspect()

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        facts = list(pool.map(work, range(30)))
    assert {fact["macs"][0] for fact in facts} == {f"00:5c:52:31:3a:{number:02x}" for number in range(3, 8)}
    assert [connect(3 + number).boot_device() for number in range(5)] == [devices[number % 2] for number in range(5)]
    assert '" 500 ' not in emulator.log.read_text()


def test_inspect_tells_what_the_bmc_tells(connect: Connect) -> None:
    assert connect(11).inspect() == {
        "power_state": "on",
        "boot_device": "disk",
        "uuid": str(UUID(int=12)),
        "manufacturer": "Sushy Emulator",
        "macs": ["00:5c:52:31:3a:0b"],
        "firmware": {"bmc": ["1.00"]},
    }


def test_a_driver_that_was_closed_connects_anew(connect: Connect) -> None:
    driver = connect(12)
    driver.power_state()
    driver.close()
    assert driver.power_state() is PowerState.ON


def test_a_system_that_the_bmc_does_not_have_is_named(connect: Connect) -> None:
    with pytest.raises(DriverRejected, match=r"node-90 \(http://127.*HTTP 404.*check driver_info"):
        connect(90).power_state()


def test_of_many_systems_one_must_be_chosen(emulator: RedfishEmulator) -> None:
    with (
        RedfishDriver("node-1", {"address": emulator.url}) as driver,
        pytest.raises(DriverRejected, match="not exactly one system; name one"),
    ):
        driver.power_state()


def test_credentials_open_the_bmc_and_show_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Given a BMC with one system and a password, and a log that takes everything
    caplog.set_level(logging.DEBUG)
    hashed = bcrypt.hashpw(b"geheim", bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"admin:{hashed}\n")
    (tmp_path / "credentials.yaml").write_text("rack-1: {username: admin, password: geheim}\n")
    (tmp_path / "credentials.yaml").chmod(0o600)
    credentials = Credentials.load(tmp_path / "credentials.yaml", "admin", "falsch")
    system = {"uuid": str(UUID(int=1)), "name": "node-1", "power_state": "On", "nics": []}
    with RedfishEmulator([system], tmp_path / "emulator", auth_file=tmp_path / "htpasswd") as emulator:
        info = {"address": emulator.url}
        # When it is talked to with the right credentials, the wrong ones and none
        with RedfishDriver("node-1", info | {"credentials": "rack-1"}, credentials) as driver:
            assert driver.power_state() is PowerState.ON
        messages = []
        for refused in (RedfishDriver("node-1", info, credentials), RedfishDriver("node-1", info)):
            with refused, pytest.raises(DriverRejected, match="refuses the credentials") as caught:
                refused.power_state()
            messages.append(str(caught.value))
        # Then only the right ones pass, and no password is in a log, an error or a repr
        told = caplog.text + repr(messages) + repr(vars(driver)) + repr(credentials)
        assert "geheim" not in told
        assert "falsch" not in told


def test_credentials_that_are_not_there_are_named_before_anything_connects() -> None:
    with pytest.raises(CredentialsMissing, match="node-1: there are no credentials named 'rack-9'"):
        RedfishDriver("node-1", {"address": "https://127.0.0.1:1", "credentials": "rack-9"})


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({}, "address: Field required"),
        ({"address": "127.0.0.1:8000"}, "must be http://HOST:PORT or https://HOST:PORT"),
        ({"address": "ftp://127.0.0.1"}, "must be http"),
        ({"address": "https://admin:geheim@127.0.0.1"}, "must hold no credentials"),
        ({"address": "https://127.0.0.1", "adress": 1}, "adress: Extra inputs"),
        ({"address": "https://127.0.0.1", "read_timeout": 0}, "read_timeout: Input should be greater than 0"),
    ],
)
def test_a_wrong_driver_info_is_refused_before_anything_connects(info: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidDriverInfo, match=reason) as caught:
        RedfishDriver("node-1", info)
    assert "geheim" not in str(caught.value)


def test_a_file_of_authorities_that_is_not_there_is_told() -> None:
    info = {"address": "https://127.0.0.1:1", "verify_tls": "/nowhere.pem"}
    with RedfishDriver("node-1", info) as driver, pytest.raises(InvalidDriverInfo, match=r"verify_tls.*/nowhere.pem"):
        driver.power_state()


def test_an_emulator_says_why_it_does_not_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmulatorError, match="in use"):
            RedfishEmulator([], tmp_path, port=port).start()


def test_a_stopped_emulator_is_gone(tmp_path: Path) -> None:
    emulator = RedfishEmulator([], tmp_path).start()
    pid = emulator.pid
    assert pid is not None
    emulator.stop()
    emulator.stop()
    assert emulator.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_address_that_refuses_is_told_at_once_after_two_more_tries() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        driver = RedfishDriver("node-1", {"address": address})
        began = time.monotonic()
        with pytest.raises(DriverUnreachable, match=r"node-1 \(http://127.*refused.*check the address"):
            driver.power_state()
    assert 1.0 < time.monotonic() - began < 5.0
    driver.close()
