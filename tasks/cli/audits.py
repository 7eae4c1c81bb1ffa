"""``fleetring audits``: whether the subclouds' rows are still the centre's."""

from typing import Any

import click

from tasks import audit
from tasks.app import app
from tasks.cli.groups import Group
from tasks.cli.output import counted, json_option, moment, print_rows
from tasks.inventory import Audit, AuditState, Subcloud, audit_rows
from tasks.inventory import subclouds as inventory_subclouds


@click.group(cls=Group)
def audits() -> None:
    """Compare the rows of subclouds with the centre's, and repair what differs."""


@audits.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice([state.value for state in AuditState]))
@json_option
def list_(states: tuple[str, ...], as_json: bool) -> None:
    """Show what the last audit of each subcloud found, in the order of their names.

    Tables are those that differed when some last did; they were repaired unless the state says otherwise.

    \b
    Examples:
      fleetring audits list
      fleetring audits list --state failed --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    wanted = [AuditState(state) for state in states] or None
    with app.runtime.database.reading() as session:
        found = audit_rows.list_(session, states=wanted)
    print_rows(counted(len(found), "audit"), [_row(*pair, as_json=as_json) for pair in found], as_json=as_json)


@audits.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everyone", is_flag=True, help="All subclouds that follow the centre.")
def run(names: tuple[str, ...], everyone: bool) -> None:
    """Have subclouds audited now.

    \b
    Examples:
      fleetring audits run subcloud-01 subcloud-02
      fleetring audits run --all
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    if everyone == bool(names):
        raise click.UsageError("name subclouds, or say --all")
    if names:
        with app.runtime.database.reading() as session:
            inventory_subclouds.find(session, names)
    count = audit.request(names or None)
    click.echo(f"{count} audits requested")
    if len(names) > count:
        click.echo(
            f"{len(names) - count} left out: only subclouds that are managed, online and synchronised are audited"
        )


def _row(subcloud: Subcloud, found: Audit, *, as_json: bool) -> dict[str, Any]:
    at = found.audited_at
    return {
        "name": subcloud.name,
        "state": found.state.value,
        "tables": found.tables,
        "seen": at if as_json else moment(at),
        "error": found.error,
    }
