"""A user's plug-ins on the command line: a command goes on without those that do not load."""

import click

from tasks import plugins
from tasks.app import app


def load_or_warn() -> None:
    """Load every plug-in, and say on the error output what is wrong with those that do not load."""
    for problem in plugins.problems(app):
        click.echo(f"warning: {problem}", err=True)
