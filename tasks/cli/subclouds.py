"""``fleetring subclouds``: the subclouds of the inventory and their initial syncs."""

from pathlib import Path
from typing import Any

import click

from tasks import initial_sync
from tasks.app import app
from tasks.cli.groups import Group
from tasks.cli.imports import import_and_report
from tasks.cli.output import counted, json_option, print_rows
from tasks.cli.subcloud_verbs import cancel, manage, offline, online, retry, sync, unmanage
from tasks.inventory import Kind, Subcloud, SyncState
from tasks.inventory import subclouds as inventory_subclouds


@click.group(cls=Group)
def subclouds() -> None:
    """Look after the subclouds of the inventory and their initial syncs."""


for _command in (manage, unmanage, online, offline, sync, retry, cancel):
    subclouds.add_command(_command)


@subclouds.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def import_(file: Path, as_json: bool) -> None:
    """Add or change the subclouds that a YAML file lists: all of them, or none.

    \b
    Example of a file:
      subclouds:
        - name: subcloud-01
          driver: sql
          driver_info: {database_url: "postgresql+psycopg://subcloud-01/identity", credentials: subclouds}

    \b
    Example:
      fleetring subclouds import fleet.yaml
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    import_and_report(file, Kind.SUBCLOUDS, as_json=as_json)


@subclouds.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice([state.value for state in SyncState]))
@click.option("--parked", is_flag=True, help="Only those whose sync was given up: the alarms.")
@json_option
def list_(states: tuple[str, ...], parked: bool, as_json: bool) -> None:
    """Show the subclouds in the order of their names.

    \b
    Examples:
      fleetring subclouds list
      fleetring subclouds list --state failed --json
      fleetring subclouds list --parked
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    wanted = [SyncState(state) for state in states] or None
    with app.runtime.database.reading() as session:
        found = inventory_subclouds.list_(session, states=wanted, parked=parked or None)
    print_rows(counted(len(found), "subcloud"), [_row(subcloud) for subcloud in found], as_json=as_json)


@subclouds.command()
@click.argument("name")
@click.option("--managed/--unmanaged", default=None, help="Whether the centre manages it.")
@click.option("--online/--offline", default=None, help="Whether it can be reached.")
def update(name: str, managed: bool | None, online: bool | None) -> None:
    """Say that a subcloud is managed or online; both together request its initial sync, anything else cancels it.

    \b
    Examples:
      fleetring subclouds update subcloud-01 --managed --online
      fleetring subclouds update subcloud-01 --offline
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    requested = initial_sync.update_state(name, managed=managed, online=online)
    click.echo(f"{name}: initial sync requested" if requested else f"{name}: no initial sync was requested")


def _row(subcloud: Subcloud) -> dict[str, Any]:
    return {
        "name": subcloud.name,
        "driver": subcloud.driver,
        "managed": subcloud.managed,
        "online": subcloud.online,
        "state": subcloud.state.value,
        "step": subcloud.step,
        "attempts": subcloud.attempts,
        "enabled": subcloud.enabled,
        "alarm": f"parked after {subcloud.attempts} attempts" if subcloud.parked_at else None,
        "failure": subcloud.failure,
        "last_error": subcloud.last_error,
    }
