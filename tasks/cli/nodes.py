"""``fleetring nodes``: the machines of the inventory."""

from pathlib import Path
from typing import Any

import click

from tasks.app import app
from tasks.cli.groups import Group
from tasks.cli.imports import import_and_report
from tasks.cli.output import counted, json_option, print_rows
from tasks.inventory import Kind, Node, power_rows
from tasks.inventory import nodes as inventory_nodes


@click.group(cls=Group)
def nodes() -> None:
    """Look after the nodes of the inventory."""


@nodes.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def import_(file: Path, as_json: bool) -> None:
    """Add or change the nodes that a YAML file lists: all of them, or none.

    \b
    Example of a file:
      nodes:
        - name: node-01
          driver: redfish
          driver_info: {address: "https://bmc-01", credentials: lab}

    \b
    Examples:
      fleetring nodes import fleet.yaml
      fleetring nodes import fleet.yaml --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    import_and_report(file, Kind.NODES, as_json=as_json)


@nodes.command("list")
@click.option("--driver", help="Only nodes of this driver.")
@click.option("--power", "power_state", help="Only nodes last seen in this power state.")
@click.option("--maintenance/--no-maintenance", default=None, help="Only nodes in, or out of, maintenance.")
@click.option("--failed", is_flag=True, default=None, help="Only nodes whose last action failed.")
@click.option("--parked", is_flag=True, default=None, help="Only nodes with an alarm of the power sync.")
@json_option
def list_(as_json: bool, **only: Any) -> None:
    """Show the nodes in the order of their names; BMC credentials are never shown.

    \b
    Examples:
      fleetring nodes list
      fleetring nodes list --power off --json
      fleetring nodes list --parked
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    with app.runtime.database.reading() as session:
        found = inventory_nodes.list_(session, **only)
    print_rows(counted(len(found), "node"), [_row(node) for node in found], as_json=as_json)


@nodes.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def restore(names: tuple[str, ...]) -> None:
    """Take nodes out of maintenance, and forget their alarms and what the power sync held against them.

    \b
    Example:
      fleetring nodes restore node-17 node-18
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    with app.runtime.database.session() as session:
        found = [node.name for node in inventory_nodes.find(session, names)]
        power_rows.restore(session, found)
    click.echo(f"{', '.join(found)}: in service")


def _row(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "uuid": node.uuid,
        "driver": node.driver,
        "power": node.power_state,
        "target": node.target_power_state,
        "boot": node.boot_device,
        "maintenance": node.maintenance,
        "alarm": node.alarm or (node.maintenance_reason if node.maintenance else None),
        "last_error": node.last_error,
    }
