"""``fleetring tasks``: single tasks that wait or run."""

from typing import Any, get_args

import click

from tasks import pool
from tasks.app import app
from tasks.cli.groups import Group
from tasks.cli.output import counted, json_option, moment, print_rows
from tasks.transport import ListedTask, State

id_argument = click.argument("task_id", metavar="ID")


@click.group(cls=Group)
def tasks() -> None:
    """Look at tasks that wait or run; re-prioritise and cancel them."""


@tasks.command("list")
@click.option("--queue", help="Only of this queue.")
@click.option("--state", type=click.Choice(get_args(State)), help="Only in this state.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="At most, of each kind.")
@json_option
def list_(queue: str | None, state: State | None, limit: int, as_json: bool) -> None:
    """Show living tasks: of each queue the ready ones in the order of their start, then running, delayed, parked.

    \b
    Examples:
      fleetring tasks list
      fleetring tasks list --queue actions --state running --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    found = pool.list_(queue, state, limit)
    print_rows(counted(len(found), "task"), [_row(task) for task in found], as_json=as_json)


@tasks.command()
@id_argument
@json_option
def show(task_id: str, as_json: bool) -> None:
    """Show one living task, and what it last told of itself.

    \b
    Examples:
      fleetring tasks show 2d7f3a1e-7c1b-4f0e-9d0c-0c3b7d1f7a55
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    task = pool.find(task_id)
    told = app.AsyncResult(task.id)
    result = str(told.state)
    row = {**_row(task), "redeliveries": task.redeliveries, "result": result}
    if result == "PROGRESS":
        row["progress"] = told.info
    print_rows(f"task {task_id}", [row], as_json=as_json)


@tasks.command()
@id_argument
@click.argument("number", type=int, metavar="N")
def priority(task_id: str, number: int) -> None:
    """Give a waiting task another priority: the lower number goes first; its place among equals stays.

    \b
    Examples:
      fleetring tasks priority 2d7f3a1e-7c1b-4f0e-9d0c-0c3b7d1f7a55 10
      fleetring tasks priority 2d7f3a1e-7c1b-4f0e-9d0c-0c3b7d1f7a55 -- -20
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    state = pool.change_priority(task_id, number)
    click.echo(f"task {task_id} is {state}, with priority {number}")


@tasks.command()
@id_argument
def cancel(task_id: str) -> None:
    """Cancel a task: a waiting one never starts, a running one is asked to end.

    \b
    Example:
      fleetring tasks cancel 2d7f3a1e-7c1b-4f0e-9d0c-0c3b7d1f7a55
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    state = pool.cancel(task_id)
    click.echo(f"task {task_id} was {state} and is " + ("asked to end" if state == "running" else "cancelled"))


def _row(task: ListedTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "task": task.name,
        "queue": task.queue,
        "state": task.state,
        "priority": task.priority,
        "arrival": moment(task.arrival),
        "due": moment(task.due),
        "worker": task.worker,
    }
