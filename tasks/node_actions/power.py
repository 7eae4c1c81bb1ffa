"""Power: on, off, reboot, and keeping the inventory's picture of it true."""

from celery.utils.log import get_task_logger

from tasks.action import ActionTask, node_action
from tasks.app import app
from tasks.drivers import DriverError, PowerState
from tasks.inventory import Node
from tasks.priority import Priority

logger = get_task_logger(__name__)


@node_action()
def set_power_state(task: ActionTask, target: str) -> dict[str, str]:
    """Bring every node of the task to a power state, ``on`` or ``off``, and wait until it is there."""
    state = PowerState(target)
    for node in task.nodes:
        task.save(node, target_power_state=state)
        task.driver_of(node).request_power_state(state)
    return {node.name: _arrive(task, node, state) for node in task.nodes}


@node_action(priority=Priority.HIGH)
def reboot(task: ActionTask) -> dict[str, str]:
    """Restart every node of the task and wait until each is on again."""
    for node in task.nodes:
        task.save(node, target_power_state=PowerState.ON)
        task.driver_of(node).request_power_state(PowerState.REBOOTING)
    return {node.name: _arrive(task, node, PowerState.REBOOTING) for node in task.nodes}


def _arrive(task: ActionTask, node: Node, target: PowerState) -> str:
    """Wait for one node; where it never arrives, its row says that its state is not known."""
    try:
        # Each look at the machine is also one at the lock: who lost it must not go on waiting.
        state = task.driver_of(node).wait_for_power_state(
            target, app.settings.power_timeout, watch=lambda _state: task.lock.ensure()
        )
    except DriverError:
        task.save(node, power_state=None, target_power_state=None)
        raise
    task.save(node, power_state=state, target_power_state=None)
    return str(state)


@node_action(priority=Priority.IDLE, on_busy="skip")
def sync_power_state(task: ActionTask) -> dict[str, str]:
    """Read every node's power state from its hardware and record it where the inventory says otherwise."""
    return {node.name: _refresh(task, node) for node in task.nodes}


def _refresh(task: ActionTask, node: Node) -> str:
    state = task.driver_of(node).power_state()
    if node.power_state != state:
        logger.info("node %s is %s, the inventory said %s", node.name, state, node.power_state)
        task.save(node, power_state=state)
    return str(state)
