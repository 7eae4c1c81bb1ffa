"""Every periodic task of the system, one short declaration each."""

from tasks import initial_sync, node_actions
from tasks.app import app
from tasks.inventory import nodes
from tasks.periodic import periodic_task


@periodic_task(spacing=10, run_immediately=True)
def dispatch_initial_syncs() -> None:
    """Send the initial syncs that are due: lost requests, ended hold-offs, dead workers' subclouds."""
    initial_sync.dispatch()


@periodic_task(spacing=60)
def sync_power_states() -> None:
    """Ask every node that is not in maintenance for its power state; busy nodes are skipped."""
    with app.runtime.database.reading() as session:
        names = [node.name for node in nodes.list_(session, maintenance=False)]
    for name in names:
        node_actions.sync_power_state.apply_async([name], expires=60)
