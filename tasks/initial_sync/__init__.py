"""Initial sync of subclouds: what requests it, the dispatch of what is due, and the task that runs its steps.

The subcloud's row decides and messages only remind: a message that finds its row claimed, cancelled or of another
generation does nothing (see ``tasks.inventory.sync_rows`` for the states).
"""

from tasks.initial_sync.hold_off import hold_off_after
from tasks.initial_sync.requests import cancel, dispatch, request, retry, sweep, update_state, update_states
from tasks.initial_sync.run import synchronise
from tasks.initial_sync.steps import STEPS, Step

__all__ = [
    "STEPS",
    "Step",
    "cancel",
    "dispatch",
    "hold_off_after",
    "request",
    "retry",
    "sweep",
    "synchronise",
    "update_state",
    "update_states",
]
