"""The built-in node actions."""

from tasks.node_actions.boot import set_boot_device
from tasks.node_actions.inspection import inspect
from tasks.node_actions.power import reboot, set_power_state, sync_power_state

__all__ = ["inspect", "reboot", "set_boot_device", "set_power_state", "sync_power_state"]
