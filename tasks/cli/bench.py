"""``fleetring bench``: the benchmarks of a checkout, each as a process of its own."""

import subprocess
import sys
from pathlib import Path

import click

from tasks.cli.errors import FAILED, failure
from tasks.errors import FleetringError

FOLDER = Path(__file__).parents[2] / "benchmarks"


class NoBenchmarks(FleetringError):
    """A benchmark was asked for that is not there."""


@click.command()
@click.argument("names", nargs=-1)
def bench(names: tuple[str, ...]) -> None:
    """Print the benchmark tables: each figure beside its target, ratios within one run.

    They start embedded servers of their own and touch no others. Without names all of them run, one after another.

    \b
    Examples:
      fleetring bench
      fleetring bench locks power-sync
      fleetring bench initial-sync
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    there = {script.stem.replace("_", "-"): script for script in sorted(FOLDER.glob("[!_]*.py"))}
    unknown = sorted(set(names) - set(there))
    if unknown or not there:
        raise NoBenchmarks(
            f"there is no benchmark {', '.join(unknown) or 'at all'} in {FOLDER}; "
            + (f"there are: {', '.join(there)}" if there else "run the command in a checkout of the repository")
        )
    failed = [name for name in names or there if not _run(there[name])]
    if failed:
        raise failure(f"these benchmarks failed: {', '.join(failed)}", FAILED)


def _run(script: Path) -> bool:
    click.secho(f"== {script.stem}", bold=True)
    return subprocess.run([sys.executable, str(script)], cwd=FOLDER.parent, check=False).returncode == 0  # noqa: S603 - our own scripts
