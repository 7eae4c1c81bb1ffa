"""The face of Fleetring: what application code imports.

>>> from tasks import Priority, node_action
>>> from tasks.node_actions import reboot
"""

from locking import LockMode
from tasks import pool, task_manager
from tasks.action import ActionTask, node_action
from tasks.app import app
from tasks.current import current
from tasks.errors import InvalidHandOver, NodesFailed
from tasks.priority import Priority
from tasks.task_manager import TaskManager
from tasks.why import why

__all__ = [
    "ActionTask",
    "InvalidHandOver",
    "LockMode",
    "NodesFailed",
    "Priority",
    "TaskManager",
    "app",
    "current",
    "node_action",
    "pool",
    "task_manager",
    "why",
]
