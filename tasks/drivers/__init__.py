"""What talks to the outside: node drivers (redfish, fake) and subcloud drivers (sql, fake)."""

from tasks.drivers.base import BootDevice, Guard, NodeDriver, PowerState, SubcloudDriver, SyncReport
from tasks.drivers.centre import Centre
from tasks.drivers.credentials import Credential, Credentials
from tasks.drivers.driver_info import DriverInfo
from tasks.drivers.errors import (
    CentreUnusable,
    CredentialsFileError,
    CredentialsMissing,
    CredentialsRefused,
    DriverError,
    DriverNotLoaded,
    DriverRejected,
    DriverTimeout,
    DriverUnavailable,
    DriverUnreachable,
    InvalidDriverInfo,
    UnknownDriver,
)
from tasks.drivers.registry import node_drivers, subcloud_drivers

__all__ = [
    "BootDevice",
    "Centre",
    "CentreUnusable",
    "Credential",
    "Credentials",
    "CredentialsFileError",
    "CredentialsMissing",
    "CredentialsRefused",
    "DriverError",
    "DriverInfo",
    "DriverNotLoaded",
    "DriverRejected",
    "DriverTimeout",
    "DriverUnavailable",
    "DriverUnreachable",
    "Guard",
    "InvalidDriverInfo",
    "NodeDriver",
    "PowerState",
    "SubcloudDriver",
    "SyncReport",
    "UnknownDriver",
    "node_drivers",
    "subcloud_drivers",
]
