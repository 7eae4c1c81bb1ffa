"""The work pool: the verbs for tasks that wait and run, across any number of workers and machines.

>>> from tasks import pool
>>> result = pool.add(reboot.s("node-7"), priority=-10)
>>> pool.change_priority(result.id, -20)
"""

from tasks.pool.adding import add, add_many
from tasks.pool.dead import dead_letters, drop_dead, retry_dead
from tasks.pool.queues import bound, has_running_tasks, pause, resize, resume, stats
from tasks.pool.quiescing import quiesce
from tasks.pool.waiting import cancel, change_priority, find, list_

__all__ = [
    "add",
    "add_many",
    "bound",
    "cancel",
    "change_priority",
    "dead_letters",
    "drop_dead",
    "find",
    "has_running_tasks",
    "list_",
    "pause",
    "quiesce",
    "resize",
    "resume",
    "retry_dead",
    "stats",
]
