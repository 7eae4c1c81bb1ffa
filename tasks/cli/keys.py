"""``fleetring keys``: the centre's keys, and their rotation. No key's body is ever shown."""

from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tasks import keys as central_keys
from tasks.cli.groups import Group
from tasks.cli.output import counted, json_option, moment, print_rows
from tasks.drivers.central_keys import Key


@click.group(cls=Group)
def keys() -> None:
    """Look after the keys that the subclouds get from the centre."""


@keys.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show the centre's keys, and how many subclouds were not yet found to have them.

    \b
    Examples:
      fleetring keys list
      fleetring keys list --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    _show(central_keys.list_(), as_json=as_json)
    if not as_json:
        click.echo(f"{len(central_keys.lacking())} subclouds were not seen with them")


@keys.command()
@click.option("--force", is_flag=True, help="Although subclouds lack the present keys: they will refuse new tokens.")
@click.option(
    "--wait", type=click.FloatRange(min=0), help="Seconds to wait, before and after, until all have the keys."
)
@json_option
def rotate(force: bool, wait: float | None, as_json: bool) -> None:
    """Make the staged key the primary one, stage a new one, and distribute them.

    Refused while a subcloud was not seen with the present keys: it would refuse the tokens of the next one.

    \b
    Examples:
      fleetring keys rotate
      fleetring keys rotate --wait 300
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    if wait is not None and not force:
        _wait(wait)
    rotated = central_keys.rotate(force=force)
    if wait is not None:
        _wait(wait)
    _show(rotated, as_json=as_json)


def _wait(timeout: float) -> None:
    columns = (TextColumn("subclouds with the keys"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        lacking = len(central_keys.lacking())
        bar = progress.add_task("", total=lacking)
        central_keys.wait_until_everywhere(timeout, lambda left: progress.update(bar, completed=lacking - left))


def _show(found: list[Key], *, as_json: bool) -> None:
    print_rows(counted(len(found), "key"), [_row(key, as_json=as_json) for key in found], as_json=as_json)


def _row(key: Key, *, as_json: bool) -> dict[str, Any]:
    made = key.created_at if as_json else moment(key.created_at)
    return {"index": key.index, "role": key.role, "created_at": made}
