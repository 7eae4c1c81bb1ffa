"""Every periodic task of the system, one short declaration each."""

from collections.abc import Sequence

from tasks import audit, initial_sync, keys, power_sync
from tasks.app import app
from tasks.periodic import periodic_task


@periodic_task(spacing=10, run_immediately=True)
def dispatch_initial_syncs() -> None:
    """Send the initial syncs that are due: lost requests, ended hold-offs, dead workers' subclouds."""
    initial_sync.dispatch()


@periodic_task(spacing=lambda: app.settings.power_sync_spacing, scope="partitioned", of=power_sync.nodes_in_service)
def sync_power_states(nodes: Sequence[str]) -> None:
    """Compare each node's power with the inventory; busy nodes, and those in maintenance, are skipped."""
    power_sync.sync(nodes, within=app.settings.power_sync_spacing)


@periodic_task(spacing=30)
def dispatch_audits() -> None:
    """Send the audits that are due: each subcloud is compared with the centre once an ``audit_interval``."""
    audit.dispatch()


@periodic_task(spacing=lambda: app.settings.key_rotation or -1)
def rotate_keys() -> None:
    """Rotate the centre's keys; refused while a subcloud lacks the present ones."""
    keys.rotate()
