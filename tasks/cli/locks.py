"""``fleetring locks``: who holds what, who waits for it, and how to end a hold."""

import getpass
import json
from collections.abc import Sequence

import click
from rich.console import Console

from locking import Holder, Waiter
from tasks.app import app
from tasks.cli.groups import Group
from tasks.cli.output import counted, json_option, print_rows


@click.group(cls=Group)
def locks() -> None:
    """Look into the locks on nodes and subclouds, and break one that nobody will release."""


@locks.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show every lock that somebody holds or waits for.

    \b
    Examples:
      fleetring locks list
      fleetring locks list --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    states = app.runtime.locks.list()
    rows = [
        {
            "name": state.name,
            "mode": state.holders[0].mode.value if state.holders else None,
            "holders": len(state.holders),
            "waiters": len(state.waiters),
            "purpose": ", ".join(sorted({holder.purpose for holder in state.holders})),
            "age": max((holder.age for holder in state.holders), default=None),
            "lease_left": min((holder.lease_left for holder in state.holders), default=None),
        }
        for state in states
    ]
    print_rows(counted(len(rows), "lock"), rows, as_json=as_json)


@locks.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show who holds a lock, and who waits for it in the order in which they will get it.

    \b
    Examples:
      fleetring locks show node:node-07
      fleetring locks show subcloud:subcloud-01 --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    manager = app.runtime.locks
    holders, waiters = manager.holders(name), manager.waiters(name)
    if as_json:
        found = {
            "name": name,
            "holders": [one.as_dict() for one in holders],
            "waiters": [one.as_dict() for one in waiters],
        }
        click.echo(json.dumps(found, indent=2))
        return
    console = Console()
    _say(console, holders or [f"{name} is free"])
    _say(console, waiters)


@locks.command("break")
@click.argument("name")
@click.option("--reason", required=True, help="Why; it is logged with your name.")
def break_(name: str, reason: str) -> None:
    """End every hold on a lock. The holder is told at its next renewal; until then the fence keeps its writes out.

    \b
    Example:
      fleetring locks break node:node-07 --reason "its worker's host burnt down"
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    broken = app.runtime.locks.break_(name, f"{reason} ({getpass.getuser()})")
    _say(Console(), [f"broken: {holder}" for holder in broken] or [f"{name} was free"])


def _say(console: Console, lines: Sequence[Holder | Waiter | str]) -> None:
    for line in lines:
        console.print(str(line), markup=False, highlight=False, soft_wrap=True)
