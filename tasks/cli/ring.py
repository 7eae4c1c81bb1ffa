"""``fleetring ring``: which queue a subcloud's initial sync goes to, and which worker consumes it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from partitioning import GroupView, HashRing, initial_sync_queues, initial_sync_router
from tasks.app import SYNCHRONISE, app
from tasks.cli.groups import Group
from tasks.cli.output import json_option, print_rows
from tasks.queue_ownership import GROUP, coordinator_of


@click.group(cls=Group)
def ring() -> None:
    """Look into the hash ring of the dedicated queues, and the workers that divide them."""


@ring.command()
@json_option
def show(as_json: bool) -> None:
    """Show the workers of the group, how they stand, and how many queues each of them owns.

    \b
    A worker is  active     and has its share,
                 waiting    until it has lived long enough to count, or
                 draining   and wants no share any more.

    \b
    Examples:
      fleetring ring show
      fleetring ring show --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    view = _view()
    owned = Counter(_owners(view.ring()).values())
    rows = [
        {
            "worker": member.name,
            "state": member.standing,
            "queues": owned[member.name],
            "weight": member.weight,
            "age": member.age,
            "lease_left": member.lease_left,
        }
        for member in view.everyone
    ]
    queues = app.settings.initial_sync_queues
    nobody = "" if view.members else "; nobody consumes them: start a worker that consumes initial-sync"
    title = f"group {GROUP} at epoch {view.epoch}: {queues} queues, {len(view.members)} active workers{nobody}"
    _print(title, {"group": GROUP, "epoch": view.epoch, "queues": queues}, "workers", rows, as_json=as_json)


@ring.command()
@click.argument("subclouds", nargs=-1, required=True, metavar="SUBCLOUD...")
@json_option
def explain(subclouds: tuple[str, ...], as_json: bool) -> None:
    """Say which dedicated queue each subcloud's initial sync goes to, and which worker consumes it now.

    \b
    Examples:
      fleetring ring explain subcloud-01 subcloud-02
      fleetring ring explain subcloud-01 --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    route = initial_sync_router(SYNCHRONISE, app.settings.initial_sync_queues)
    queues = {name: (route(SYNCHRONISE, [name], {}, {}) or {})["queue"] for name in subclouds}
    owners = _owners(_view().ring())
    rows = [{"subcloud": name, "queue": queue, "worker": owners[queue]} for name, queue in queues.items()]
    print_rows(f"ring of {app.settings.initial_sync_queues} queues", rows, as_json=as_json)


@ring.command()
@click.option("--add", "added", multiple=True, metavar="NAME", help="A worker that would join; may be repeated.")
@click.option("--remove", "removed", multiple=True, metavar="NAME", help="A worker that would go; may be repeated.")
@json_option
def simulate(added: tuple[str, ...], removed: tuple[str, ...], as_json: bool) -> None:
    """Show which queues would move to another worker if workers joined or went. Nothing is changed.

    \b
    Examples:
      fleetring ring simulate --add worker-4@host
      fleetring ring simulate --remove worker-1@host --json
      fleetring ring simulate --remove old@host --add new@host
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    if not added and not removed:
        raise click.UsageError("name a worker with --add or --remove")
    view = _view()
    before = after = view.ring()
    if strangers := sorted(set(removed) - set(view.members)):
        raise click.UsageError(
            f"{', '.join(strangers)} would not be missed: there are {', '.join(view.members) or 'no active workers'}"
        )
    for name in removed:
        after = after.without_node(name)
    for name in added:
        after = after.with_node(name)
    now, then = _owners(before), _owners(after)
    moves = [{"queue": queue, "from": now[queue], "to": then[queue]} for queue in now if now[queue] != then[queue]]
    title = f"{len(moves)} of {len(now)} queues would move ({len(moves) / len(now):.0%})"
    _print(title, {"epoch": view.epoch, "queues": len(now)}, "moves", moves, as_json=as_json)


def _view() -> GroupView:
    return coordinator_of(app.settings).view(GROUP)


def _owners(ring_of_workers: HashRing) -> dict[str, str | None]:
    """The worker that owns each dedicated queue; None where there is no worker."""
    queues = initial_sync_queues(app.settings.initial_sync_queues)
    return {queue: ring_of_workers.get_node(queue) if len(ring_of_workers) else None for queue in queues}


def _print(
    title: str, facts: Mapping[str, Any], name: str, rows: Sequence[Mapping[str, Any]], *, as_json: bool
) -> None:
    """Print rows under a title; as JSON, in one object with the facts of the title."""
    if as_json:
        click.echo(json.dumps({**facts, name: rows}, indent=2))
    else:
        print_rows(title, rows, as_json=False)
