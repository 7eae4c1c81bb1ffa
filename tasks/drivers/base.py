"""What a driver is: the calls that actions and initial syncs make, whatever stands behind them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

from tasks.drivers.centre import Centre
from tasks.drivers.credentials import Credentials
from tasks.drivers.driver_info import DriverInfo

Guard = Callable[[], object]
"""Called before each request that changes the other side; it raises when the caller may no longer change it."""


class PowerState(StrEnum):
    """What a machine's power does. Wanted can be ON, OFF and REBOOTING; seen can be all but REBOOTING."""

    ON = "on"
    OFF = "off"
    POWERING_ON = "powering-on"
    POWERING_OFF = "powering-off"
    REBOOTING = "rebooting"
    UNKNOWN = "unknown"


class BootDevice(StrEnum):
    """What a machine boots from."""

    DISK = "disk"
    PXE = "pxe"
    CDROM = "cdrom"
    USB = "usb"
    HTTP = "http"
    BIOS = "bios"


def unguarded() -> None:
    """The guard of a caller who needs none."""


class Driver(ABC):
    """What the drivers of nodes and of subclouds have in common; for the arguments see there."""

    Info: ClassVar[type[DriverInfo]]
    """What the driver's driver_info must look like."""

    def __init__(
        self,
        name: str,
        driver_info: Mapping[str, Any],
        credentials: Credentials | None = None,
        guard: Guard = unguarded,
    ) -> None:
        self.name = name
        self._credentials = credentials or Credentials()
        self._guard = guard
        self._configure(driver_info)

    @abstractmethod
    def _configure(self, driver_info: Mapping[str, Any]) -> None:
        """Check and keep driver_info."""

    @abstractmethod
    def close(self) -> None:
        """Give connections back; the driver connects anew when it is used again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


class NodeDriver(Driver):
    """Talks to one machine's management controller. Not for several threads at once.

    Making a driver checks driver_info and connects to nothing.

    Args:
        name: The node's name, for errors.
        driver_info: What the driver needs to know of the node.
        credentials: Where named credentials come from. Defaults to none at all.
        guard: Called before each request that changes the machine. Defaults to doing nothing.

    Raises:
        InvalidDriverInfo: when driver_info is not what the driver needs.
    """

    @abstractmethod
    def power_state(self) -> PowerState:
        """What the machine's power does now."""

    @abstractmethod
    def request_power_state(self, target: PowerState) -> None:
        """Ask for ON, OFF or REBOOTING and return at once; a machine that is there already is left alone.

        REBOOTING a machine that is off turns it on.
        """

    @abstractmethod
    def wait_for_power_state(
        self, target: PowerState, timeout: float, watch: Callable[[PowerState], object] | None = None
    ) -> PowerState:
        """Wait until what `request_power_state` asked for has come true, and return the state then seen.

        A controller that fails to answer for a while is asked again until the time is over.

        Args:
            target: ON, OFF, or REBOOTING (then the machine has gone down and come back).
            timeout: Seconds, at most.
            watch: Called with each state seen; what it raises ends the waiting. Defaults to nobody.

        Raises:
            DriverTimeout: when the time is over.
        """

    @abstractmethod
    def set_boot_device(self, device: BootDevice, *, persistent: bool = False) -> None:
        """Boot from this device: the next time, or every time (persistent)."""

    @abstractmethod
    def boot_device(self) -> BootDevice | None:
        """What the machine was told to boot from; None when that is left to its firmware."""

    @abstractmethod
    def inspect(self) -> dict[str, Any]:
        """Facts of the machine as JSON: at least power_state and boot_device, the rest as far as it is known.

        The usual keys: manufacturer, model, serial, memory_gib, cpus, macs, firmware (bios, bmc).
        """

    def reboot(self, timeout: float) -> PowerState:
        """Reboot and wait at most `timeout` seconds until the machine is back on."""
        self.request_power_state(PowerState.REBOOTING)
        return self.wait_for_power_state(PowerState.REBOOTING, timeout)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one step changed: rows inserted, updated and deleted in each table."""

    inserted: Mapping[str, int] = field(default_factory=dict)
    updated: Mapping[str, int] = field(default_factory=dict)
    deleted: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many rows changed."""
        return sum(sum(counts.values()) for counts in (self.inserted, self.updated, self.deleted))


class SubcloudDriver(Driver):
    """Brings one subcloud's identity rows and keys to the state of the centre. Not for several threads at once.

    Each step may be repeated at will. Making a driver checks driver_info and connects to nothing.

    Args:
        name: The subcloud's name, for errors.
        driver_info: What the driver needs to know of the subcloud.
        centre: Where the centre's identity rows and keys are read.
        credentials: Where named credentials come from. Defaults to none at all.
        guard: Called before each request that changes the subcloud. Defaults to doing nothing.

    Raises:
        InvalidDriverInfo: when driver_info is not what the driver needs.
    """

    KEY_TABLES: ClassVar[tuple[str, ...]]
    """Which of the tables in a digest hold keys."""

    def __init__(
        self,
        name: str,
        driver_info: Mapping[str, Any],
        centre: Centre,
        credentials: Credentials | None = None,
        guard: Guard = unguarded,
    ) -> None:
        self._centre = centre
        super().__init__(name, driver_info, credentials, guard)

    def probe(self) -> None:
        """Ask, in one short request that changes nothing, whether the subcloud answers. Defaults to not asking.

        The caller waits for a few seconds only.

        Raises:
            DriverError: when it does not.
        """

    @abstractmethod
    def sync_identity(self) -> SyncReport:
        """Make users, groups, projects, roles and assignments those of the centre, ids and password hashes kept.

        Raises:
            DriverRejected: when the centre has no users, no projects or no roles: that is a fault, not a wish.
        """

    @abstractmethod
    def distribute_keys(self) -> SyncReport:
        """Make the keys those of the centre.

        Raises:
            DriverRejected: when the centre has none.
        """

    @abstractmethod
    def reset_audit(self) -> None:
        """Forget what earlier audits of the subcloud found, so that the next one looks at everything."""

    @abstractmethod
    def enable(self) -> None:
        """Tell the subcloud that its rows now follow the centre's."""

    @abstractmethod
    def digest(self) -> dict[str, str]:
        """A fingerprint (SHA-256, hexadecimal) of each table's rows, to be compared with the centre's."""

    @classmethod
    @abstractmethod
    def central_digest(cls, centre: Centre) -> dict[str, str]:
        """What `digest` is for a subcloud whose rows are those of the centre."""

    @classmethod
    def keys_of(cls, digest: Mapping[str, str]) -> str:
        """The part of a digest that tells which keys there are: a SHA-256, hexadecimal."""
        return hashlib.sha256("".join(digest[table] for table in cls.KEY_TABLES).encode()).hexdigest()

    @abstractmethod
    def repair(self, tables: Collection[str]) -> SyncReport:
        """Make the rows of these tables, named as `digest` names them, those of the centre.

        Raises:
            DriverRejected: when the centre lacks rows that every centre has.
        """
