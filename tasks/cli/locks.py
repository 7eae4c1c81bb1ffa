"""``fleetring locks``: who holds what, and why."""

from typing import Any

import click

from locking import Holder
from tasks.app import app
from tasks.cli.output import json_option, print_rows


@click.group()
def locks() -> None:
    """Look into the locks on nodes and subclouds."""


@locks.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show every lock that is held: by whom, for what, for how long.

    \b
    Examples:
      fleetring locks list
      fleetring locks list --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    rows = [_row(holder) for state in app.runtime.locks.list() for holder in state.holders]
    print_rows(f"{len(rows)} locks held", rows, as_json=as_json)


def _row(holder: Holder) -> dict[str, Any]:
    return {
        "name": holder.name,
        "mode": holder.mode.value,
        "owner": holder.owner,
        "task": holder.task,
        "purpose": holder.purpose,
        "age": holder.age,
        "lease_left": holder.lease_left,
        "fence": holder.fence,
    }
