"""``fleetring doctor``: is everything there that the system needs?"""

import json
from collections.abc import Callable
from typing import Any

import click
from kombu.utils.url import maybe_sanitize_url
from rich.console import Console

from tasks import plugins
from tasks.action import NodeAction
from tasks.app import app
from tasks.cli.errors import UNREACHABLE, failure
from tasks.cli.output import json_option


def _broker() -> str:
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
    return f"{maybe_sanitize_url(app.settings.broker_url)} answers"


def _locks() -> str:
    held = len(app.runtime.locks.list())
    return f"{maybe_sanitize_url(app.settings.lock_url)} answers, {held} locks held"


def _database() -> str:
    app.runtime.database.ensure_migrated()
    return f"{app.runtime.database.address} has the schema of this version"


def _workers() -> str:
    replies = app.control.ping(timeout=1.0)
    if not replies:
        raise LookupError("no worker answers: start one with `celery -A tasks worker`")
    return ", ".join(sorted(name for reply in replies for name in reply))


def _plugins() -> str:
    plugins.load(app)
    actions = (task for task in app.tasks.values() if isinstance(task, NodeAction))
    own = sorted(action.name for action in actions if not action.body.__module__.startswith("tasks."))
    return f"all load; actions of your own: {', '.join(own) or 'none'}"


CHECKS: dict[str, Callable[[], str]] = {
    "broker": _broker,
    "database": _database,
    "locks": _locks,
    "plug-ins": _plugins,
    "workers": _workers,
}


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check broker, database, locks, your own plug-ins and the workers, and say what to do about what is missing.

    \b
    Examples:
      fleetring doctor
      fleetring doctor --json
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    findings = {name: _examine(check) for name, check in CHECKS.items()}
    if as_json:
        click.echo(json.dumps(findings, indent=2))
    else:
        console = Console()
        for name, finding in findings.items():
            mark = "[green]ok[/]" if finding["ok"] else "[red]NO[/]"
            console.print(f"{mark}  [bold]{name:10}[/]", end="")
            console.print(finding["text"], markup=False, highlight=False, soft_wrap=True)
    if not all(finding["ok"] for finding in findings.values()):
        raise failure("not everything is there; see the lines above", UNREACHABLE)


def _examine(check: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"ok": True, "text": check()}
    except Exception as error:  # noqa: BLE001 - a doctor reports whatever ails, one line each
        return {"ok": False, "text": str(error)}
