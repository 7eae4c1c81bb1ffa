"""Drivers that talk to nothing: for trying Fleetring out, for tests and for benchmarks."""

import hashlib
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tasks.drivers.base import BootDevice, NodeDriver, PowerState, SubcloudDriver, SyncReport
from tasks.drivers.centre import Centre
from tasks.drivers.errors import DriverRejected, DriverTimeout
from tasks.drivers.fake_side import FakeInfo, FakeSide
from tasks.drivers.polling import poll

#: What a fake subcloud has in place of tables, and the step that brings each over.
_STEP_OF = {"identity": "sync_identity", "keys": "distribute_keys"}
_TARGETS = (PowerState.ON, PowerState.OFF, PowerState.REBOOTING)


class FakeNodeInfo(FakeInfo):
    """The driver_info of a fake node: that of `FakeInfo`, and how long its power takes.

    Attributes:
        power_delay: Seconds that a power change takes, or the least and the most of them. Defaults to 0.
    """

    operations: ClassVar[frozenset[str]] = frozenset(
        {"power_state", "request_power_state", "set_boot_device", "boot_device", "inspect"}
    )

    power_delay: Annotated[float, Field(ge=0)] | tuple[float, float] = 0.0

    def power_seconds(self) -> float:
        """How long the next power change takes."""
        if isinstance(self.power_delay, tuple):
            return random.uniform(*self.power_delay)  # noqa: S311 - no secret hangs on it
        return self.power_delay


class FakeNodeDriver(NodeDriver):
    """A machine that exists in a file or in memory; it begins powered off. driver_info is that of `FakeNodeInfo`."""

    Info = FakeNodeInfo

    def _configure(self, driver_info: Mapping[str, Any]) -> None:
        self._info = FakeNodeInfo.of(self.name, driver_info)
        self._side = FakeSide("node", self.name, self._info)

    def power_state(self) -> PowerState:
        """What the machine's power does now."""
        with self._side.operation("power_state"):
            return self._side.update(_power)

    def request_power_state(self, target: PowerState) -> None:
        """Ask for ON, OFF or REBOOTING; the change takes `power_delay` seconds."""
        if target not in _TARGETS:
            raise DriverRejected(self.name, "fake", f"cannot be brought to {target!r}", "ask for on, off or rebooting")
        with self._changing("request_power_state"):
            self._side.update(lambda state: _start(state, target, self._info.power_seconds()))

    def wait_for_power_state(
        self, target: PowerState, timeout: float, watch: Callable[[PowerState], object] | None = None
    ) -> PowerState:
        """Wait until what `request_power_state` asked for has come true."""
        wanted = PowerState.ON if target is PowerState.REBOOTING else target
        state = PowerState.UNKNOWN

        def arrived() -> bool:
            nonlocal state
            state = self.power_state()
            if watch is not None:
                watch(state)
            return state is wanted

        if not poll(arrived, timeout, first_pause=0.02):
            raise DriverTimeout(self.name, "fake", f"not {target} after {timeout:g} s: last seen {state}")
        return state

    def set_boot_device(self, device: BootDevice, *, persistent: bool = False) -> None:
        """Remember the boot device."""
        with self._changing("set_boot_device"):
            self._side.update(lambda state: state.update(boot_device=device.value, boot_persistent=persistent))

    def boot_device(self) -> BootDevice | None:
        """The boot device that was set, if one was."""
        with self._side.operation("boot_device"):
            return self._side.update(_boot_device)

    def inspect(self) -> dict[str, Any]:
        """Facts that depend on the node's name only, and its state."""
        with self._side.operation("inspect"):
            power, device = self._side.update(lambda state: (_power(state), _boot_device(state)))
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return {
            "power_state": power.value,
            "boot_device": device and device.value,
            "manufacturer": "Fleetring",
            "model": "Fake",
            "serial": digest[:12].upper(),
            "memory_gib": 64,
            "cpus": 16,
            "macs": [":".join(["02", *(digest[at : at + 2] for at in range(0, 10, 2))])],
            "firmware": {"bios": "1.0", "bmc": ["1.0"]},
        }

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def _changing(self, operation: str) -> Iterator[None]:
        with self._side.operation(operation):
            self._guard()
            yield


class FakeSubcloudInfo(FakeInfo):
    """The driver_info of a fake subcloud: that of `FakeInfo`, and what it takes from the centre.

    Attributes:
        central_reads: Whether the steps `sync_identity` and `distribute_keys` read the centre first, which the
            operation `read_centre` stands for. Defaults to false.
    """

    operations: ClassVar[frozenset[str]] = frozenset(
        {"probe", "read_centre", "sync_identity", "distribute_keys", "reset_audit", "enable", "digest", "repair"}
    )

    central_reads: bool = False


class FakeSubcloudDriver(SubcloudDriver):
    """A subcloud that remembers which steps were done; what it reads from the centre is made up.

    driver_info is that of `FakeSubcloudInfo`.
    """

    Info = FakeSubcloudInfo
    KEY_TABLES = ("keys",)

    def _configure(self, driver_info: Mapping[str, Any]) -> None:
        self._info = FakeSubcloudInfo.of(self.name, driver_info)
        self._side = FakeSide("subcloud", self.name, self._info)

    def probe(self) -> None:
        """Answer, unless it is set to be unreachable."""
        with self._side.operation("probe"):
            pass

    def sync_identity(self) -> SyncReport:
        """Remember that it was done; the first time one row counts as inserted."""
        self._read_centre("identity")
        return SyncReport(inserted={"identity": self._step("sync_identity")})

    def distribute_keys(self) -> SyncReport:
        """Remember that it was done; the first time one row counts as inserted."""
        self._read_centre("keys")
        return SyncReport(inserted={"keys": self._step("distribute_keys")})

    def reset_audit(self) -> None:
        """Remember that it was done."""
        self._step("reset_audit")

    def enable(self) -> None:
        """Remember that it was done."""
        self._step("enable")

    def digest(self) -> dict[str, str]:
        """A fingerprint for each of identity and keys, which tells whether it was brought over."""
        with self._side.operation("digest"):
            done = self._side.update(lambda state: set(state.get("done", ())))
        return _digest(done)

    @classmethod
    def central_digest(cls, centre: Centre) -> dict[str, str]:
        """The fingerprints when both were brought over."""
        return _digest(set(_STEP_OF.values()))

    def repair(self, tables: Collection[str]) -> SyncReport:
        """Remember that identity or keys were brought over."""
        with self._side.operation("repair"):
            self._guard()
            return SyncReport(
                inserted={table: self._side.update(partial(_do, step=_STEP_OF[table])) for table in sorted(tables)}
            )

    def close(self) -> None:
        """Nothing is open."""

    def _read_centre(self, what: str) -> None:
        if self._info.central_reads:
            self._centre.cached(("fake", what), lambda: self._load(what))

    def _load(self, what: str) -> str:
        with self._side.operation("read_centre"):
            return f"the {what} of the centre"

    def _step(self, step: str) -> int:
        with self._side.operation(step):
            self._guard()
            return self._side.update(lambda state: _do(state, step))


def _digest(done: Collection[str]) -> dict[str, str]:
    return {table: hashlib.sha256(str(step in done).encode()).hexdigest() for table, step in _STEP_OF.items()}


def _do(state: dict[str, Any], step: str) -> int:
    done = set(state.get("done", ()))
    state["done"] = sorted(done | {step})
    return int(step not in done)


def _start(state: dict[str, Any], target: PowerState, seconds: float) -> None:
    now = _power(state)
    if target is PowerState.REBOOTING:
        state["power"] = PowerState.OFF.value
    if now is not target:
        becomes = PowerState.ON if target is PowerState.REBOOTING else target
        state["pending"] = {"power": becomes.value, "at": time.time() + seconds}


def _power(state: dict[str, Any]) -> PowerState:
    pending = state.get("pending")
    if pending and time.time() >= pending["at"]:
        state["power"], state["pending"] = pending["power"], None
    return PowerState(state.get("power", PowerState.OFF))


def _boot_device(state: dict[str, Any]) -> BootDevice | None:
    return BootDevice(state["boot_device"]) if "boot_device" in state else None
