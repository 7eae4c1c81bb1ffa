"""``fleetring periodic``: the periodic tasks, when they ran, and when they will."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from tasks.app import app
from tasks.cli.groups import Group
from tasks.cli.output import counted, json_option, moment, print_rows
from tasks.declaration import Scope
from tasks.errors import UnknownPeriodicTask
from tasks.periodic import PeriodicTask
from tasks.ticks import Ledger, Record

name_argument = click.argument("name")


@click.group(cls=Group)
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

    Lag is how long after it was due the last run began. Not scheduled is a task that is disabled, or that nobody leads
    yet; the log of beat, or of the worker, says why. A task of scope each_worker or partitioned has a line for each
    worker that has it in its own schedule; a worker that died stays for an hour.

    \b
    Examples:
      fleetring periodic list
      fleetring periodic list --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    declared = _declared()
    rows = [
        (_json_row if as_json else _row)(record, declared[record.name].declaration.scope, worker)
        for record, worker in sorted(_records(declared), key=lambda found: (found[0].name, found[1]))
    ]
    print_rows(counted(len(declared), "periodic task"), rows, as_json=as_json)


def _records(declared: Mapping[str, PeriodicTask]) -> Iterable[tuple[Record, str]]:
    """Every record with its worker; nothing in its place for a task of scope cluster, or which no worker has."""
    own = [name for name, task in declared.items() if task.declaration.scope is not Scope.CLUSTER]
    found = []
    for worker in Ledger(app).workers(alive=False):
        found += [(record, worker) for record in Ledger(app, worker).records(own) if record.spacing is not None]
    seen = {record.name for record, _ in found}
    missing = [name for name in declared if name not in seen]
    return [*found, *((record, "") for record in Ledger(app).records(missing))]


def _row(record: Record, scope: Scope, worker: str) -> dict[str, Any]:
    return {
        "name": record.name,
        "scope": str(scope),
        "worker": worker or None,
        "next_due": "paused" if record.paused else moment(record.next_due) or "not scheduled",
        "spacing": record.spacing,
        "last_run": "now" if record.running else moment(record.last_run),
        "duration": record.duration,
        "lag": record.lag,
        "last_error": (record.last_error or "").partition("\n")[0] or None,
    }


def _json_row(record: Record, scope: Scope, worker: str) -> dict[str, Any]:
    return {
        **vars(record),
        "scope": str(scope),
        "worker": worker or None,
        "next_due": moment(record.next_due),
        "last_run": moment(record.last_run),
    }


@periodic.command()
@name_argument
def run(name: str) -> None:
    """Send a run now, beside the schedule; it keeps out of the way of a run that is alive.

    A task of scope each_worker or partitioned is sent to every worker that has it.

    \b
    Example:
      fleetring periodic run dispatch_initial_syncs
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    task = _find(name)
    for result in task.run_now():
        click.echo(f"{task.name} was sent as task {result.id}")


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
