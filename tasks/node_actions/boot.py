"""What nodes boot from."""

from tasks.action import ActionTask, node_action
from tasks.drivers import BootDevice


@node_action()
def set_boot_device(task: ActionTask, device: str, persistent: bool = False) -> dict[str, str]:
    """Make every node of the task boot from a device (``pxe``, ``disk``, ...), once or from now on."""
    wanted = BootDevice(device)
    for done, node in enumerate(task.nodes):
        task.progress(done, len(task.nodes), node.name)
        task.driver_of(node).set_boot_device(wanted, persistent=persistent)
        task.save(node, boot_device=wanted)
    return {node.name: str(wanted) for node in task.nodes}
