"""``fleetring db``: the schema of the inventory."""

import click

from tasks.app import app
from tasks.cli.groups import Group


@click.group(cls=Group)
def db() -> None:
    """Look after the inventory's database."""


@db.command()
def upgrade() -> None:
    """Bring the inventory's schema to this version.

    \b
    Example:
      FLEETRING_DATABASE_URL=postgresql+psycopg://fleet@db/fleet fleetring db upgrade
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    database = app.runtime.database
    applied = database.upgrade()
    what = f"applied {', '.join(applied)}" if applied else "is up to date"
    click.echo(f"{database.address}: {what}")
