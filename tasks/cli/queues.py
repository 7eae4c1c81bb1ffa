"""``fleetring queues``: what waits and runs, and the verbs for whole queues."""

from dataclasses import asdict
from typing import Any, get_args

import click

from tasks import pool
from tasks.app import app
from tasks.cli.groups import Group
from tasks.cli.output import counted, json_option, moment, print_rows
from tasks.pool.quiescing import Mode
from tasks.transport import DeadLetter, QueueStats

queue_argument = click.argument("queue", metavar="NAME")
reason_option = click.option("--reason", default="manual", show_default=True, help="Who or what for.")


@click.group(cls=Group)
def queues() -> None:
    """Look into the queues of tasks; pause, size and empty them."""


@queues.command("list")
@click.option("--all", "show_all", is_flag=True, help="Empty queues, too.")
@json_option
def list_(show_all: bool, as_json: bool) -> None:
    """Show what each queue holds; queues that hold nothing are left out.

    \b
    Examples:
      fleetring queues list
      fleetring queues list --all --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    with app.queues() as known:
        found = [known.stats(name) for name in sorted({*app.amqp.queues, *known.names()})]
    rows = [_row(stats) for stats in found if show_all or _holds_something(stats)]
    print_rows(f"{len(rows)} of {len(found)} queues", rows, as_json=as_json)


def _holds_something(stats: QueueStats) -> bool:
    held = stats.ready or stats.running or stats.delayed or stats.parked or stats.dead
    return bool(held or stats.pauses or stats.slots is not None)


def _number(most: str | None, option: str) -> int | None:
    if most is None or most == "none":
        return None if most is None else 0
    if not most.isdecimal():
        raise click.BadParameter(f"{most!r} is neither a whole number from 0 nor none", param_hint=option)
    return int(most)


def _row(stats: QueueStats) -> dict[str, Any]:
    return {
        "queue": stats.queue,
        "ready": stats.ready,
        "running": stats.running,
        "delayed": stats.delayed,
        "parked": stats.parked,
        "dead": stats.dead,
        "oldest": stats.oldest,
        "slots": stats.slots,
        "paused": ", ".join(sorted(stats.pauses)) or None,
    }


@queues.command()
@queue_argument
@json_option
def show(queue: str, as_json: bool) -> None:
    """Show what one queue holds, with its depth at each priority.

    \b
    Examples:
      fleetring queues show actions
      fleetring queues show actions --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    stats = pool.stats(queue)
    bounds = {"max_queued": stats.max_queued, "max_parked": stats.max_parked}
    row = asdict(stats) if as_json else {**_row(stats), **bounds, "depth": stats.depth or None}
    print_rows(f"queue {queue}", [row], as_json=as_json)


@queues.command()
@queue_argument
@reason_option
def pause(queue: str, reason: str) -> None:
    """Start nothing more of a queue, in any worker; what runs goes on.

    \b
    Example:
      fleetring queues pause actions --reason "firmware upgrade"
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    pool.pause(queue, reason)
    click.echo(f"queue {queue} is paused: {', '.join(sorted(pool.stats(queue).pauses))}")


@queues.command()
@queue_argument
@reason_option
def resume(queue: str, reason: str) -> None:
    """Take back one reason for a pause.

    \b
    Example:
      fleetring queues resume actions --reason "firmware upgrade"
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    if pool.resume(queue, reason):
        click.echo(f"queue {queue} runs")
    else:
        click.echo(f"queue {queue} is still paused: {', '.join(sorted(pool.stats(queue).pauses))}")


@queues.command()
@queue_argument
@click.option("--timeout", default=60.0, show_default=True, help="For how long to wait, in seconds.")
@click.option("--mode", default="block", show_default=True, type=click.Choice(get_args(Mode)), help="What adders do.")
def quiesce(queue: str, timeout: float, mode: Mode) -> None:
    """Wait until a queue is quiet; meanwhile whoever adds to it waits (block), is refused (reject), or adds (snapshot).

    \b
    Examples:
      fleetring queues quiesce actions --timeout 300
      fleetring queues quiesce actions --timeout 300 --mode snapshot
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    pool.quiesce(queue, timeout, mode)
    click.echo(f"queue {queue} is quiet")


@queues.command()
@queue_argument
@click.argument("slots", metavar="SLOTS")
def resize(queue: str, slots: str) -> None:
    """Let at most SLOTS tasks of a queue run at once, over all workers; "none" takes the limit away.

    \b
    Examples:
      fleetring queues resize actions 4
      fleetring queues resize actions none
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    if slots != "none" and not slots.isdecimal():
        raise click.BadParameter(f"{slots!r} is neither a whole number from 0 nor none", param_hint="SLOTS")
    pool.resize(queue, None if slots == "none" else int(slots))
    click.echo(f"queue {queue} runs {'any number of' if slots == 'none' else f'at most {slots}'} tasks at once")


@queues.command()
@queue_argument
@click.option("--max-queued", metavar="N", help='How many tasks may wait or run; "none" for any number.')
@click.option("--max-parked", metavar="N", help='How many of them may be parked; "none" for any number.')
def bound(queue: str, max_queued: str | None, max_parked: str | None) -> None:
    """Let a queue refuse new work while it holds so much; a bound that isn't given is the setting's again.

    \b
    Examples:
      fleetring queues bound actions --max-queued 10000 --max-parked 500
      fleetring queues bound actions
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    pool.bound(queue, _number(max_queued, "--max-queued"), _number(max_parked, "--max-parked"))
    stats = pool.stats(queue)
    most, most_parked = (str(most or "any number of") for most in (stats.max_queued, stats.max_parked))
    click.echo(f"queue {queue} holds {most} tasks and {most_parked} parked ones before it takes no new work")


@queues.command()
@click.argument("queue", metavar="[NAME]", required=False)
@json_option
def dead(queue: str | None, as_json: bool) -> None:
    """Show the tasks that will not be tried again by themselves, and why.

    \b
    Examples:
      fleetring queues dead
      fleetring queues dead actions --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    letters = pool.dead_letters(queue)
    print_rows(counted(len(letters), "dead letter"), [_letter(letter) for letter in letters], as_json=as_json)


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "task": letter.name,
        "queue": letter.queue,
        "reason": letter.reason,
        "at": moment(letter.at),
        "worker": letter.worker,
        "redeliveries": letter.redeliveries,
    }


@queues.command("retry-dead")
@click.argument("task_id", metavar="ID")
def retry_dead(task_id: str) -> None:
    """Put a dead letter back into its queue.

    \b
    Example:
      fleetring queues retry-dead 2d7f3a1e-7c1b-4f0e-9d0c-0c3b7d1f7a55
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    pool.retry_dead(task_id)
    click.echo(f"task {task_id} is back in its queue")


@queues.command("drop-dead")
@click.argument("task_id", metavar="ID")
def drop_dead(task_id: str) -> None:
    """Delete a dead letter for good.

    \b
    Example:
      fleetring queues drop-dead 2d7f3a1e-7c1b-4f0e-9d0c-0c3b7d1f7a55
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    pool.drop_dead(task_id)
    click.echo(f"task {task_id} is deleted")
