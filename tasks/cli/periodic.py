"""``fleetring periodic``: the periodic tasks, when they ran, and when they will."""

from datetime import UTC, datetime
from typing import Any

import click

from tasks.app import app
from tasks.cli.output import json_option, print_rows
from tasks.errors import UnknownPeriodicTask
from tasks.periodic import PeriodicTask
from tasks.ticks import Ledger, Record

name_argument = click.argument("name")


@click.group()
def periodic() -> None:
    """Look after the periodic tasks; a name may be given without its module.

    \b
    Examples:
      fleetring periodic list
      fleetring periodic run dispatch_initial_syncs
      fleetring periodic pause beat_schedule.sync_power_states
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart


@periodic.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show every periodic task: when it is due, and how its last run went. Times are in seconds.

    Lag is how long after it was due the last run began.

    \b
    Examples:
      fleetring periodic list
      fleetring periodic list --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    records = Ledger(app).records(sorted(_declared()))
    rows = [_json_row(record) if as_json else _row(record) for record in records]
    print_rows(f"{len(rows)} periodic tasks", rows, as_json=as_json)


def _row(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "next_due": "paused" if record.paused else _moment(record.next_due),
        "spacing": record.spacing,
        "last_run": "now" if record.running else _moment(record.last_run),
        "duration": record.duration,
        "lag": record.lag,
        "last_error": record.last_error,
    }


def _json_row(record: Record) -> dict[str, Any]:
    return {
        **vars(record),
        "next_due": _moment(record.next_due),
        "last_run": _moment(record.last_run),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")


@periodic.command()
@name_argument
def run(name: str) -> None:
    """Send a run now, beside the schedule; it keeps out of the way of a run that is alive.

    \b
    Example:
      fleetring periodic run dispatch_initial_syncs
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    task = _find(name)
    click.echo(f"{task.name} was sent as task {task.apply_async().id}")


@periodic.command()
@name_argument
def pause(name: str) -> None:
    """Send no more runs by the schedule until the task is resumed; a run that is alive goes on.

    \b
    Example:
      fleetring periodic pause sync_power_states
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    task = _find(name)
    Ledger(app).pause(task.name)
    click.echo(f"{task.name} is paused")


@periodic.command()
@name_argument
def resume(name: str) -> None:
    """Run a paused task again, from its next boundary on.

    \b
    Example:
      fleetring periodic resume sync_power_states
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    task = _find(name)
    Ledger(app).resume(task.name)
    click.echo(f"{task.name} is resumed")


def _declared() -> dict[str, PeriodicTask]:
    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if isinstance(task, PeriodicTask)}


def _find(name: str) -> PeriodicTask:
    known = _declared()
    found = [task for full, task in known.items() if name in (full, full.rpartition(".")[2])]
    if name in known:
        return known[name]
    if len(found) != 1:
        raise UnknownPeriodicTask(name, known)
    return found[0]
