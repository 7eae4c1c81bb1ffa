"""What a BMC tells about its machine, as plain JSON."""

from collections.abc import Callable
from typing import Any

from sushy import exceptions


def facts(system: Any) -> dict[str, Any]:
    """Everything that the loaded system and its parts tell; what a BMC does not offer is absent.

    Costs two requests, one more for each network interface and one for each manager.
    """
    document = system.json
    found = {
        "uuid": system.uuid,
        "manufacturer": system.manufacturer,
        "model": system.model,
        "serial": system.serial_number,
        "memory_gib": (document.get("MemorySummary") or {}).get("TotalSystemMemoryGiB"),
        "cpus": (document.get("ProcessorSummary") or {}).get("Count"),
        "cpu_model": (document.get("ProcessorSummary") or {}).get("Model"),
        "macs": _optional(lambda: _macs(system)),
        "firmware": {
            "bios": system.bios_version,
            "bmc": _optional(lambda: _bmc_firmware(system)),
        },
    }
    return _without_gaps(found)


def _macs(system: Any) -> list[str]:
    interfaces = system.ethernet_interfaces.get_members()
    macs = {interface.permanent_mac_address or interface.mac_address for interface in interfaces}
    return sorted(mac.lower() for mac in macs if mac)


def _bmc_firmware(system: Any) -> list[str]:
    return [manager.firmware_version for manager in system.managers if manager.firmware_version]


def _optional(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (exceptions.MissingAttributeError, exceptions.ResourceNotFoundError):
        return None


def _without_gaps(found: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _without_gaps(value) if isinstance(value, dict) else value for key, value in found.items()}
    return {key: value for key, value in kept.items() if value not in (None, {}, [])}
