"""The command line: ``fleetring``, also mounted as ``celery -A tasks fleet``."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from tasks.cli.errors import explained
from tasks.cli.groups import Group

#: Where each command lives; it is imported only when it is called, so that ``--help`` is quick.
COMMANDS: Mapping[str, str] = {
    "audits": "tasks.cli.audits:audits",
    "bench": "tasks.cli.bench:bench",
    "db": "tasks.cli.db:db",
    "demo": "tasks.cli.demo:demo",
    "doctor": "tasks.cli.doctor:doctor",
    "keys": "tasks.cli.keys:keys",
    "locks": "tasks.cli.locks:locks",
    "nodes": "tasks.cli.nodes:nodes",
    "periodic": "tasks.cli.periodic:periodic",
    "queues": "tasks.cli.queues:queues",
    "ring": "tasks.cli.ring:ring",
    "subclouds": "tasks.cli.subclouds:subclouds",
    "tasks": "tasks.cli.tasks:tasks",
    "up": "tasks.cli.up:up",
    "why": "tasks.cli.why:command",
    "workers": "tasks.cli.workers:workers",
}


class FleetGroup(Group):
    """A group that imports a command when it is called, and explains the errors of all of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a known error becomes one sentence and an exit status."""
        with explained():
            return super().invoke(ctx)


@click.group(cls=FleetGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fleetring")
def fleet() -> None:
    """Run prioritised actions on a fleet of machines.

    \b
    Exit status: 0 all done, 1 something failed, 2 wrong input or setting,
    3 a server does not answer, 4 locked by somebody else, 130 interrupted.

    \b
    Examples:
      fleetring demo                       see it work on this machine
      fleetring up                         broker, workers, beat and Flower in this folder
      fleetring nodes import fleet.yaml    fill the inventory
      fleetring nodes list --json          read it
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart


def main() -> None:
    """Run the ``fleetring`` command."""
    fleet(prog_name="fleetring")
