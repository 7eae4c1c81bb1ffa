"""``fleetring workers``: who works, on what, and the verbs for one worker."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from tasks.app import app
from tasks.cli.errors import FAILED, failure
from tasks.cli.groups import Group
from tasks.cli.output import counted, json_option, print_rows
from tasks.errors import UnknownWorker
from tasks.presence import WORKERS
from tasks.queue_ownership import coordinator_of
from tasks.workers import Register, Stage, Worker, overview

name_argument = click.argument("name")
wait_option = click.option(
    "--wait", default=0.0, metavar="SECONDS", help="For how long to wait until it is so.", show_default="do not wait"
)


@click.group(cls=Group)
def workers() -> None:
    """Look after the workers: who works, on what; drain one, let it work again, stop it.

    \b
    Examples:
      fleetring workers list
      fleetring workers drain celery@host-3 --wait 600
      fleetring workers resume celery@host-3
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart


@workers.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show every worker, and those that were lost within a day. Times are in seconds.

    \b
    A worker is  running   and takes tasks,
                 draining  and finishes what it has,
                 drained   and has nothing,
                 stopping  as draining, and then it ends, or
                 lost      it fell silent without a goodbye.

    \b
    Examples:
      fleetring workers list
      fleetring workers list --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    found = _all()
    print_rows(
        counted(len(found), "worker"), [_json_row(one) if as_json else _row(one) for one in found], as_json=as_json
    )


def _row(worker: Worker) -> dict[str, Any]:
    report = worker.report
    return {
        "worker": worker.name,
        "state": f"{worker.stage} (to {worker.wish})" if _on_its_way(worker) else worker.stage,
        "host:pid incarnation": f"{report.host}:{report.pid} {report.incarnation[:8]}" if report else None,
        "slots": f"{len(worker.running)}/{report.slots}" if report else None,
        "queues": _in_short(report.queues) if report else None,
        "drivers": ", ".join(sorted({*report.node_drivers, *report.subcloud_drivers})) if report else None,
        "last_sign": worker.last_sign,
        "runs": ", ".join(task.name.rpartition(".")[2] for task in worker.running) or None,
    }


def _on_its_way(worker: Worker) -> bool:
    arrived = {"drain": (Stage.DRAINING, Stage.DRAINED, Stage.STOPPING), "stop": (Stage.STOPPING,)}
    return bool(worker.wish) and worker.stage not in arrived[worker.wish]


def _in_short(queues: tuple[str, ...]) -> str:
    """Name the queues that others send to, and count the dedicated ones."""
    dedicated = [queue for queue in queues if queue.startswith("initial-sync.")]
    named = [queue for queue in queues if queue not in dedicated and not queue.startswith("worker:")]
    return ", ".join([*named, f"{len(dedicated)} initial-sync"] if dedicated else named)


def _json_row(worker: Worker) -> dict[str, Any]:
    report = worker.report
    return {
        "name": worker.name,
        "state": worker.stage,
        "wish": worker.wish or None,
        "incarnation": worker.incarnation,
        "last_sign": worker.last_sign,
        "running": [{"id": task.id, "task": task.name, "queue": task.queue} for task in worker.running],
        "report": {**asdict(report)} if report else None,
    }


@workers.command()
@name_argument
@wait_option
def drain(name: str, wait: float) -> None:
    """Have a worker finish what it has and take nothing new, also after a restart, until it is resumed.

    \b
    Examples:
      fleetring workers drain celery@host-3
      fleetring workers drain celery@host-3 --wait 600
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    worker = _find(name)
    Register(app).drain(name)
    _nudge(name)
    click.echo(f"worker {name} is to drain; it has {len(worker.running)} tasks")
    _wait(name, wait, "drained", lambda one: one is None or one.stage in (Stage.DRAINED, Stage.LOST))


@workers.command()
@name_argument
@wait_option
def resume(name: str, wait: float) -> None:
    """Let a drained worker take tasks again.

    \b
    Example:
      fleetring workers resume celery@host-3
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    _find(name)
    Register(app).resume(name)
    _nudge(name)
    click.echo(f"worker {name} is to work again")
    _wait(name, wait, "running", lambda one: one is not None and one.stage is Stage.RUNNING)


@workers.command()
@name_argument
@wait_option
def stop(name: str, wait: float) -> None:
    """Have a worker finish what it has within its drain_limit, hand back the rest, and end.

    It concerns this start of the worker only: one that is started anew works, unless it is to be drained.

    \b
    Examples:
      fleetring workers stop celery@host-3
      fleetring workers stop celery@host-3 --wait 120
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    worker = _find(name)
    if worker.stage is Stage.LOST or worker.incarnation is None:
        raise failure(f"worker {name} is lost: there is nothing to stop", FAILED)
    Register(app).stop(name, worker.incarnation)
    _nudge(name)
    click.echo(f"worker {name} is to stop; it has {len(worker.running)} tasks")
    _wait(name, wait, "gone", lambda one: one is None or one.incarnation != worker.incarnation)


def _all() -> list[Worker]:
    settings = app.settings
    group = coordinator_of(settings).view(WORKERS)
    with app.queues() as queues:
        return overview(Register(app), group, queues, lease=settings.member_lease)


def _find(name: str) -> Worker:
    known = {worker.name: worker for worker in _all()}
    if name not in known:
        raise UnknownWorker(name, known)
    return known[name]


def _nudge(name: str) -> None:
    """Have the worker look at once; one that does not hear it looks within a third of ``capabilities_ttl``."""
    app.control.broadcast("look_at_wishes", destination=[name])


def _wait(name: str, seconds: float, what: str, reached: Callable[[Worker | None], bool]) -> None:
    deadline = time.monotonic() + seconds
    while seconds > 0:
        worker = next((one for one in _all() if one.name == name), None)
        if reached(worker):
            click.echo(f"worker {name} is {what}")
            return
        if time.monotonic() >= deadline:
            raise failure(f"worker {name} is not {what} after {seconds:g} s", FAILED)
        time.sleep(0.2)
