"""Importing inventory files, for nodes and subclouds alike."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from tasks.app import app
from tasks.cli.plugins import load_or_warn
from tasks.drivers import node_drivers, subcloud_drivers
from tasks.inventory import Imported, Kind, import_file


def import_inventory(file: Path, *kinds: Kind) -> dict[Kind, Imported]:
    """Import the given kinds of entries, all of a file or nothing; no kind means whatever the file holds.

    Raises:
        InventoryFileError: the file has mistakes; the text lists every one with its line.
    """
    load_or_warn()
    return import_file(
        app.runtime.database,
        file,
        kinds or frozenset(Kind),
        node_drivers=node_drivers,
        subcloud_drivers=subcloud_drivers,
    )


def import_and_report(file: Path, kind: Kind, *, as_json: bool) -> None:
    """Import one kind of entries and print how many were new, changed and unchanged."""
    counts = asdict(import_inventory(file, kind)[kind])
    if as_json:
        click.echo(json.dumps(counts))
    else:
        click.echo(f"{kind}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
