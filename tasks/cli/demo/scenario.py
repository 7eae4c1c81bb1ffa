"""What the demo does to its fleet, all of it sent at once."""

import time
from collections.abc import Iterator
from typing import Any

from tasks import initial_sync
from tasks.action import NodeAction
from tasks.cli.demo.watch import Sent
from tasks.node_actions import inspect, reboot, set_boot_device, set_power_state
from tasks.priority import Priority


def send_actions(nodes: list[str]) -> Iterator[Sent]:
    """Send the actions: the least urgent first, so that order shows who is served first."""
    for node in nodes:
        yield _send(inspect, node)
    for node in nodes:
        yield _send(set_power_state, node, "on")
    yield _send(set_boot_device, nodes[:6], "pxe")
    for node in nodes[6::6]:
        yield _send(reboot, node, priority=Priority.URGENT)


def request_syncs(subclouds: list[str]) -> None:
    """Tell the inventory that every subcloud is managed and online, which requests its initial sync."""
    for subcloud in subclouds:
        initial_sync.update_state(subcloud, managed=True, online=True)


def _send(action: NodeAction, nodes: str | list[str], *args: Any, **options: Any) -> Sent:
    at = time.time()
    task_id = str(action.apply_async([nodes, *args], **options).id)
    return Sent(task_id, action.short_name, (nodes,) if isinstance(nodes, str) else tuple(nodes), at)
