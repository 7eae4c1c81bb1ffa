"""What nodes are made of."""

from typing import Any

from locking import LockMode
from tasks.action import ActionTask, node_action
from tasks.priority import Priority


@node_action(mode=LockMode.SHARED, priority=Priority.LOW)
def inspect(task: ActionTask) -> dict[str, Any]:
    """Read what every node of the task is made of, and record it in the inventory."""
    facts = {node.name: task.driver_of(node).inspect() for node in task.nodes}
    for node in task.nodes:
        task.overwrite(node, properties=facts[node.name])
    return facts
