"""``fleetring ring``: which dedicated queue a subcloud's initial sync goes to."""

import click

from partitioning import initial_sync_router
from tasks.app import SYNCHRONISE, app
from tasks.cli.output import json_option, print_rows


@click.group()
def ring() -> None:
    """Look into the hash ring of the dedicated queues."""


@ring.command()
@click.argument("subclouds", nargs=-1, required=True, metavar="SUBCLOUD...")
@json_option
def explain(subclouds: tuple[str, ...], as_json: bool) -> None:
    """Say which dedicated queue each subcloud's initial sync goes to.

    \b
    Example:
      fleetring ring explain subcloud-01 subcloud-02
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    route = initial_sync_router(SYNCHRONISE, app.settings.initial_sync_queues)
    rows = [{"subcloud": name, **(route(SYNCHRONISE, [name], {}, {}) or {})} for name in subclouds]
    print_rows(f"ring of {app.settings.initial_sync_queues} queues", rows, as_json=as_json)
