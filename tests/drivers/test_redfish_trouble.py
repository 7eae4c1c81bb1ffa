import time
from collections.abc import Iterator

import pytest

from tasks.drivers import BootDevice, DriverRejected, DriverTimeout, DriverUnavailable, PowerState
from tasks.drivers.redfish import RedfishDriver

RESET = ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset")
SYSTEM = ("GET", "/redfish/v1/Systems/1")


@pytest.fixture
def driver(bmc) -> Iterator[RedfishDriver]:
    info = {"address": bmc.url, "read_timeout": 0.3, "reboot_settle": 0.2}
    with RedfishDriver("node-1", info) as driver:
        yield driver


def test_a_bmc_that_never_answers_is_asked_once(bmc, driver) -> None:
    bmc.answer = lambda _method, _path: None
    with pytest.raises(DriverTimeout, match=r"node-1 \(http://127.*does not answer in time"):
        driver.power_state()
    assert len(bmc.requests) == 1


def test_a_reset_that_is_not_answered_is_not_sent_again(bmc, driver) -> None:
    # It may have been carried out: a second one would reset the machine twice.
    bmc.answer = lambda method, path: None if method == "POST" else bmc.obey(method, path)
    with pytest.raises(DriverTimeout):
        driver.request_power_state(PowerState.REBOOTING)
    assert bmc.requests.count(RESET) == 1


def test_a_reset_that_fails_is_told_with_the_bmcs_words(bmc, driver) -> None:
    failure = {"error": {"code": "Base.1.8.InternalError", "message": "the fans are stuck"}}
    bmc.answer = lambda method, path: (500, failure) if method == "POST" else bmc.obey(method, path)
    with pytest.raises(DriverUnavailable, match=r"HTTP 500.*the fans are stuck"):
        driver.request_power_state(PowerState.OFF)
    assert bmc.requests.count(RESET) == 1


def test_a_read_that_fails_for_a_moment_is_tried_again(bmc, driver) -> None:
    answers = iter([(503, None), (503, None)])
    bmc.answer = lambda method, path: next(answers, None) or bmc.obey(method, path)
    assert driver.power_state() is PowerState.ON


def test_a_bmc_that_goes_on_failing_is_told(bmc, driver) -> None:
    bmc.answer = lambda _method, _path: (503, {"error": {"message": "starting"}})
    with pytest.raises(DriverUnavailable, match=r"HTTP 503.*starting.*try again later"):
        driver.power_state()


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[1]", b'"text"', b"null"])
def test_an_answer_that_is_no_redfish_is_told(bmc, driver, body) -> None:
    bmc.answer = lambda _method, _path: (200, body)
    with pytest.raises(DriverRejected, match="node-1"):
        driver.power_state()


def test_a_system_without_reset_action_is_told(bmc, driver) -> None:
    del bmc.system["Actions"]
    with pytest.raises(DriverRejected, match=r"ComputerSystem.Reset is missing"):
        driver.request_power_state(PowerState.OFF)


def test_a_state_that_nobody_can_ask_for_is_refused(bmc, driver) -> None:
    with pytest.raises(DriverRejected, match="ask for on, off or rebooting"):
        driver.request_power_state(PowerState.UNKNOWN)


def test_a_boot_device_that_the_bmc_does_not_offer_is_refused(bmc, driver) -> None:
    bmc.system["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] = ["Pxe"]
    with pytest.raises(DriverRejected, match="target"):
        driver.set_boot_device(BootDevice.USB)


def test_a_machine_whose_boot_is_left_to_its_firmware_has_no_boot_device(bmc, driver) -> None:
    assert driver.boot_device() is None


def test_waiting_ends_at_the_deadline_with_what_was_last_seen(bmc, driver) -> None:
    bmc.system["PowerState"] = "PoweringOff"
    began = time.monotonic()
    with pytest.raises(DriverTimeout, match=r"not off after 0.7 s: last seen powering-off"):
        driver.wait_for_power_state(PowerState.OFF, 0.7)
    assert 0.7 <= time.monotonic() - began < 2.0


def test_waiting_outlives_a_bmc_that_fails_for_a_while(bmc, driver) -> None:
    answers = iter([(500, None)] * 4)
    bmc.answer = lambda method, path: next(answers, None) or bmc.obey(method, path)
    assert driver.wait_for_power_state(PowerState.ON, 10) is PowerState.ON


def test_waiting_for_a_bmc_that_fails_to_the_end_tells_its_last_trouble(bmc, driver) -> None:
    bmc.answer = lambda _method, _path: (500, None)
    with pytest.raises(DriverTimeout, match="last seen unknown, and the BMC answers HTTP 500"):
        driver.wait_for_power_state(PowerState.ON, 0.1)


def test_a_watcher_may_end_the_waiting(bmc, driver) -> None:
    class Cancelled(Exception):
        pass

    def cancel(_state: PowerState) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        driver.wait_for_power_state(PowerState.OFF, 10, watch=cancel)


def test_a_reboot_during_which_the_bmc_says_on_is_over_when_it_has_settled(bmc, driver) -> None:
    driver.request_power_state(PowerState.REBOOTING)
    began = time.monotonic()
    assert driver.wait_for_power_state(PowerState.REBOOTING, 5) is PowerState.ON
    assert time.monotonic() - began >= 0.19


def test_a_reboot_that_the_bmc_dates_is_over_at_once(bmc) -> None:
    bmc.system["LastResetTime"] = "2026-01-01T00:00:00Z"

    def reset(method: str, path: str):
        if method == "POST":
            bmc.system["LastResetTime"] = "2026-01-02T00:00:00Z"
        return bmc.obey(method, path)

    bmc.answer = reset
    with RedfishDriver("node-1", {"address": bmc.url, "reboot_settle": 60}) as driver:
        assert driver.reboot(5) is PowerState.ON


def test_a_reboot_is_not_over_while_the_machine_is_down(bmc) -> None:
    with RedfishDriver("node-1", {"address": bmc.url, "reboot_settle": 60}) as driver:
        driver.request_power_state(PowerState.REBOOTING)
        states = iter(["On", "Off", "PoweringOn"])

        def next_state(_state: PowerState) -> None:
            bmc.system["PowerState"] = next(states, "On")

        seen: list[str] = []
        driver.wait_for_power_state(
            PowerState.REBOOTING, 10, watch=lambda state: (seen.append(state), next_state(state))
        )
    assert seen == ["on", "on", "off", "powering-on", "on"]


def test_each_look_is_a_fresh_one(bmc, driver) -> None:
    assert driver.power_state() is PowerState.ON
    bmc.system["PowerState"] = "Off"
    assert driver.power_state() is PowerState.OFF
    assert bmc.requests.count(SYSTEM) == 3
