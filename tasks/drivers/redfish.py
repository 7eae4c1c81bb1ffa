"""Real BMCs over Redfish."""

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

import sushy
from pydantic import AfterValidator, Field

from tasks.drivers.base import BootDevice, NodeDriver, PowerState
from tasks.drivers.driver_info import DriverInfo
from tasks.drivers.errors import DriverRejected, DriverTimeout, DriverUnavailable, DriverUnreachable
from tasks.drivers.polling import poll
from tasks.drivers.redfish_client import RedfishClient
from tasks.drivers.redfish_facts import facts

_SEEN = {
    sushy.PowerState.ON: PowerState.ON,
    sushy.PowerState.OFF: PowerState.OFF,
    sushy.PowerState.POWERING_ON: PowerState.POWERING_ON,
    sushy.PowerState.POWERING_OFF: PowerState.POWERING_OFF,
}

# The first that a BMC offers is taken.
_RESETS = {
    PowerState.ON: (sushy.ResetType.ON, sushy.ResetType.FORCE_ON),
    PowerState.OFF: (sushy.ResetType.FORCE_OFF, sushy.ResetType.GRACEFUL_SHUTDOWN),
    PowerState.REBOOTING: (
        sushy.ResetType.FORCE_RESTART,
        sushy.ResetType.POWER_CYCLE,
        sushy.ResetType.GRACEFUL_RESTART,
    ),
}

_BOOT_SOURCES = {
    BootDevice.DISK: sushy.BootSource.HDD,
    BootDevice.PXE: sushy.BootSource.PXE,
    BootDevice.CDROM: sushy.BootSource.CD,
    BootDevice.USB: sushy.BootSource.USB,
    BootDevice.HTTP: sushy.BootSource.UEFI_HTTP,
    BootDevice.BIOS: sushy.BootSource.BIOS_SETUP,
}
_BOOT_DEVICES = {source: device for device, source in _BOOT_SOURCES.items()}

_BootMarks = tuple[object, object]


def _bmc_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be http://HOST:PORT or https://HOST:PORT")
    if parts.username or parts.password:
        raise ValueError("must hold no credentials; name them with `credentials`")
    return value.rstrip("/")


class RedfishInfo(DriverInfo):
    """The driver_info of a redfish node.

    Attributes:
        address: The BMC's URL, `https://host:port`.
        system: UUID or path of the system. Defaults to the only one that the BMC has.
        credentials: The name of its credentials. Defaults to the default credentials, or anonymous without those.
        verify_tls: Check the BMC's certificate, or with which file of authorities. Defaults to true.
        connect_timeout: Seconds for a connection, above 0. Defaults to 5.
        read_timeout: Seconds for an answer, above 0. Defaults to 20.
        reboot_settle: Seconds, 0 or more, that a rebooted machine must be seen on before the reboot counts as done,
            where the BMC shows no other sign of it. Defaults to 5.
    """

    address: Annotated[str, AfterValidator(_bmc_address)]
    system: str | None = None
    credentials: str | None = None
    verify_tls: bool | str = True
    connect_timeout: Annotated[float, Field(gt=0)] = 5.0
    read_timeout: Annotated[float, Field(gt=0)] = 20.0
    reboot_settle: Annotated[float, Field(ge=0)] = 5.0


class RedfishDriver(NodeDriver):
    """A machine behind a Redfish BMC; driver_info is that of `RedfishInfo`."""

    Info = RedfishInfo

    def _configure(self, driver_info: Mapping[str, Any]) -> None:
        info = RedfishInfo.of(self.name, driver_info)
        self._reboot = _Reboot(info.reboot_settle)
        self._bmc = RedfishClient(
            self.name,
            info.address,
            info.system,
            self._credentials.get(info.credentials, self.name),
            verify_tls=info.verify_tls,
            connect_timeout=info.connect_timeout,
            read_timeout=info.read_timeout,
        )

    def power_state(self) -> PowerState:
        """What the machine's power does now."""
        return self._bmc.read(_power_state)

    def request_power_state(self, target: PowerState) -> None:
        """Ask for ON, OFF or REBOOTING and return at once; a machine that is there already is left alone."""
        if target not in _RESETS:
            raise self._bmc.error(DriverRejected, f"cannot be brought to {target!r}", "ask for on, off or rebooting")
        state, offered, self._reboot.before = self._bmc.read(
            lambda system: (_power_state(system), system.get_allowed_reset_system_values(), _boot_marks(system))
        )
        if target is PowerState.REBOOTING and state is PowerState.OFF:
            target = PowerState.ON
        if state is target:
            return
        reset = next((reset for reset in _RESETS[target] if reset in offered), _RESETS[target][0])
        self._guard()
        self._bmc.change(lambda system: system.reset_system(reset))
        self._reboot.begin()

    def wait_for_power_state(
        self, target: PowerState, timeout: float, watch: Callable[[PowerState], object] | None = None
    ) -> PowerState:
        """Wait until what `request_power_state` asked for has come true; pauses grow from half a second to two."""
        state, trouble = PowerState.UNKNOWN, ""

        def arrived() -> bool:
            nonlocal state, trouble
            try:
                state, marks = self._bmc.read_once(lambda system: (_power_state(system), _boot_marks(system)))
            except (DriverUnreachable, DriverTimeout, DriverUnavailable) as error:
                trouble = f", and {error.reason}"
                return False
            trouble = ""
            if watch is not None:
                watch(state)
            return self._reboot.done(state, marks) if target is PowerState.REBOOTING else state is target

        if not poll(arrived, timeout):
            raise self._bmc.error(DriverTimeout, f"not {target} after {timeout:g} s: last seen {state}{trouble}")
        return state

    def set_boot_device(self, device: BootDevice, *, persistent: bool = False) -> None:
        """Boot from this device: the next time, or every time (persistent)."""
        enabled = sushy.BootSourceOverrideEnabled.CONTINUOUS if persistent else sushy.BootSourceOverrideEnabled.ONCE
        self._bmc.read(_power_state)
        self._guard()
        self._bmc.change(lambda system: system.set_system_boot_options(_BOOT_SOURCES[device], enabled))

    def boot_device(self) -> BootDevice | None:
        """What the machine was told to boot from; None when that is left to its firmware."""
        return self._bmc.read(_boot_device)

    def inspect(self) -> dict[str, Any]:
        """Facts of the machine as JSON; what the BMC does not offer is absent."""
        state, device, found = self._bmc.read(
            lambda system: (_power_state(system), _boot_device(system), facts(system))
        )
        return {"power_state": state.value, "boot_device": device and device.value, **found}

    def close(self) -> None:
        """Close the connection to the BMC."""
        self._bmc.close()


class _Reboot:
    """Tells when a reboot is over.

    Many BMCs report a machine as on all through a reset, others show it off for a moment that can be missed. So a
    machine that is on has rebooted when it was seen otherwise meanwhile, when the BMC's marks of the last boot have
    changed, or when it was seen on for so long after the request that the reset must have happened.
    """

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self.before: _BootMarks | None = None
        self.begin()

    def begin(self) -> None:
        self._since = time.monotonic()
        self._was_down = False

    def done(self, state: PowerState, marks: _BootMarks) -> bool:
        if state is not PowerState.ON:
            self._was_down = True
            return False
        changed = self.before is not None and marks != self.before
        return self._was_down or changed or time.monotonic() - self._since >= self._settle


def _power_state(system: Any) -> PowerState:
    return _SEEN.get(system.power_state, PowerState.UNKNOWN)


def _boot_marks(system: Any) -> _BootMarks:
    document = system.json
    return document.get("LastResetTime"), (document.get("BootProgress") or {}).get("LastStateTime")


def _boot_device(system: Any) -> BootDevice | None:
    boot = system.boot
    if boot is None or boot.enabled == sushy.BootSourceOverrideEnabled.DISABLED:
        return None
    return _BOOT_DEVICES.get(boot.target)
