"""How commands print: a table for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")

#: More characters than a line will have.
WIDEST = 100_000
#: The units of an age, in seconds, each used from twice its length on.
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def print_rows(title: str, rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows that have the same keys: a line each, however narrow the terminal, so that they can be searched.

    A table leaves out columns in which every cell is empty (None), and tells a moment (a datetime) by how far it is
    from now; JSON has all of them, moments in ISO 8601.
    """
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=_plain))
        return
    click.secho(title, bold=True)
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    told = [key for key in (rows[0] if rows else ()) if any(row[key] is not None for row in rows)]
    for key in told:
        numbers = not any(isinstance(row[key], str | bool | datetime) for row in rows)
        table.add_column(key.replace("_", " "), justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        # Text, not markup: a name may hold square brackets.
        table.add_row(*(Text(_cell(row[key])) for key in told))
    if told:
        Console(width=Console(width=WIDEST).measure(table).maximum).print(table)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 lock", "2 locks"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment(seconds: float | None) -> datetime | None:
    """Return a moment, in seconds since 1970, as tables and JSON print it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.1f}"
        case datetime():
            return _distance((value - datetime.now(UTC)).total_seconds())
        case _:
            return str(value)


def _distance(seconds: float) -> str:
    length, unit = next((unit for unit in UNITS if abs(seconds) >= 2 * unit[0]), UNITS[-1])
    number = round(abs(seconds) / length)
    if not number:
        return "now"
    return f"in {number} {unit}" if seconds > 0 else f"{number} {unit} ago"


def _plain(value: Any) -> str:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
