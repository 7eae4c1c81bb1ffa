"""What ``fleetring subclouds`` does to many subclouds at once: their states, and their initial syncs."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from tasks import initial_sync
from tasks.app import app
from tasks.cli.errors import FAILED
from tasks.cli.output import json_option
from tasks.cli.sync_watch import Summary, watch
from tasks.inventory import Subcloud, SyncState, SyncTicket, subclouds

F = TypeVar("F", bound=Callable[..., Any])

#: How many names a sentence lists.
NAMED_AT_MOST = 10

watch_option = click.option(
    "--watch", "watched", is_flag=True, help="Stay and show how far it is, until all have ended."
)


def chosen(command: F) -> F:
    """Give a command the names of subclouds, or ``--all``."""
    everyone = click.option("--all", "everyone", is_flag=True, help="All subclouds of the inventory.")
    return everyone(click.argument("names", nargs=-1, metavar="[NAME]...")(command))


def _choice(names: Sequence[str], everyone: bool) -> Sequence[str] | None:
    if bool(names) == everyone:
        raise click.UsageError("name the subclouds, or say --all")
    return None if everyone else names


@click.command()
@chosen
@json_option
def manage(names: tuple[str, ...], everyone: bool, as_json: bool) -> None:
    """Say that subclouds are managed, which requests the initial syncs of those that are online.

    \b
    Examples:
      fleetring subclouds manage subcloud-01 subcloud-02
      fleetring subclouds manage --all
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    _update(_choice(names, everyone), "managed", as_json, managed=True)


@click.command()
@chosen
@json_option
def unmanage(names: tuple[str, ...], everyone: bool, as_json: bool) -> None:
    """Say that subclouds are not managed, which cancels their initial syncs; the next one will be a whole one.

    \b
    Example:
      fleetring subclouds unmanage subcloud-01
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    _update(_choice(names, everyone), "not managed", as_json, managed=False)


@click.command()
@chosen
@json_option
def online(names: tuple[str, ...], everyone: bool, as_json: bool) -> None:
    """Say that subclouds can be reached, which requests the initial syncs of those that are managed.

    \b
    Example:
      fleetring subclouds online --all
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    _update(_choice(names, everyone), "online", as_json, online=True)


@click.command()
@chosen
@json_option
def offline(names: tuple[str, ...], everyone: bool, as_json: bool) -> None:
    """Say that subclouds cannot be reached, which cancels their initial syncs.

    \b
    Example:
      fleetring subclouds offline subcloud-01
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    _update(_choice(names, everyone), "offline", as_json, online=False)


def _update(names: Sequence[str] | None, what: str, as_json: bool, **states: bool) -> None:
    requested = initial_sync.update_states(names, **states)
    if as_json:
        click.echo(json.dumps({"requested": [ticket.name for ticket in requested]}, indent=2))
    else:
        who = "all subclouds are" if names is None else f"{_listed(names)} {'is' if len(names) == 1 else 'are'}"
        click.echo(f"{who} {what}; {len(requested)} initial syncs requested")


@click.command()
@chosen
@watch_option
@json_option
def sync(names: tuple[str, ...], everyone: bool, watched: bool, as_json: bool) -> None:
    """Ask for a whole initial sync of subclouds that are managed and online; one that is under way is left alone.

    With --watch the exit status is 1 when a sync failed; it is tried again by itself all the same.

    \b
    Examples:
      fleetring subclouds sync subcloud-01
      fleetring subclouds sync --all --watch
      fleetring subclouds sync --all --watch --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    wanted = _choice(names, everyone)
    requested = {ticket.name for ticket in initial_sync.request(wanted)}
    rows = _rows(wanted)
    under_way = [row for row in rows if row.state in {SyncState.REQUESTED, SyncState.IN_PROGRESS}]
    left_out = [row.name for row in rows if not (row.managed and row.online)]
    generations = {row.name: row.generation for row in rows if row.name in requested or row in under_way}
    facts = {"requested": len(requested), "under_way": len(generations) - len(requested), "left_out": len(left_out)}
    said = f"{len(requested)} initial syncs requested, {facts['under_way']} were under way"
    if left_out:
        said += f"; not managed and online, so left out: {_listed(left_out)}"
    _finish(facts, said, generations if watched else {}, as_json)
    if left_out and not everyone:
        raise click.exceptions.Exit(FAILED)


@click.command()
@chosen
@watch_option
@json_option
def retry(names: tuple[str, ...], everyone: bool, watched: bool, as_json: bool) -> None:
    """Try failed initial syncs again at once, those that were given up too, from the step that failed.

    \b
    Examples:
      fleetring subclouds retry subcloud-01 --watch
      fleetring subclouds retry --all
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    tickets = initial_sync.retry(_choice(names, everyone))
    _finish({"requested": len(tickets)}, _verb(tickets, "tried again"), _generations(tickets, watched), as_json)


@click.command()
@chosen
@json_option
def cancel(names: tuple[str, ...], everyone: bool, as_json: bool) -> None:
    """Call off initial syncs that wait, run or failed; a run ends before its next request to the subcloud.

    \b
    Examples:
      fleetring subclouds cancel subcloud-01
      fleetring subclouds cancel --all
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    tickets = initial_sync.cancel(_choice(names, everyone))
    _finish({"cancelled": len(tickets)}, _verb(tickets, "called off"), {}, as_json)


def _finish(facts: dict[str, Any], said: str, watched: dict[str, int], as_json: bool) -> None:
    """Print what was done, and stay for the syncs that are watched."""
    if not as_json:
        click.echo(said)
    summary = watch(watched, quiet=as_json) if watched else Summary()
    if as_json:
        click.echo(json.dumps({**facts, **(summary.facts() if watched else {})}, indent=2))
    if summary.failed:
        raise click.exceptions.Exit(FAILED)


def _rows(names: Sequence[str] | None) -> Sequence[Subcloud]:
    with app.runtime.database.reading() as session:
        found = subclouds.list_(session)
    wanted = None if names is None else set(names)
    return [row for row in found if wanted is None or row.name in wanted]


def _generations(tickets: Sequence[SyncTicket], watched: bool) -> dict[str, int]:
    return {ticket.name: ticket.generation for ticket in tickets} if watched else {}


def _verb(tickets: Sequence[SyncTicket], verb: str) -> str:
    named = f": {_listed([ticket.name for ticket in tickets])}" if tickets else ""
    return f"{len(tickets)} initial syncs {verb}{named}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more
