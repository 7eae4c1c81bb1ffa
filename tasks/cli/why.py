"""``fleetring why``: what a task, node or subcloud waits for."""

import json

import click
from rich.console import Console

from tasks.cli.output import json_option
from tasks.why import picture, why


@click.command("why")
@click.argument("name")
@json_option
def command(name: str, as_json: bool) -> None:
    """Say what a task, node or subcloud waits for, who waits behind it, and what comes next, when.

    NAME is the id of a task, the name or UUID of a node, or the name of a subcloud; all that have the name are shown.
    Write task:NAME, node:NAME or subcloud:NAME for one of them. Exit status 2: nothing has this name.

    \b
    Examples:
      fleetring why node-07
      fleetring why 2d7f3a1e-7c1b-4f0e-9d0c-0c3b7d1f7a55
      fleetring why subcloud:site-3 --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    report = why(name)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return
    console = Console()
    for line in picture.lines(report):
        console.print(line, highlight=False, soft_wrap=True)
