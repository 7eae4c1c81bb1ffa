"""``fleetring up``: a whole fleet in one terminal."""

import click
from rich.console import Console
from rich.text import Text

from tasks import plugins, settings
from tasks.app import app
from tasks.cli.local_fleet import LocalFleet
from tasks.settings import HOME

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")


@click.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="How many workers to start.")
@click.option("--flower-port", default=5555, show_default=True, help="Loopback port of Flower.")
def up(workers: int, flower_port: int) -> None:
    """Run broker, workers, beat and Flower in this terminal, until Ctrl-C.

    Without a broker_url in the settings a private Valkey is started, and SQLite is used without a database_url; both
    keep their data in .fleetring/ below the current folder. Every other command in this folder finds them.

    \b
    Examples:
      fleetring up
      fleetring up --workers 4 --flower-port 5556
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    console = Console()
    with LocalFleet(HOME) as fleet:
        if "broker_url" not in settings.current().model_fields_set:
            fleet.record(broker_url=fleet.start_broker())
        plugins.load(app)  # here, rather than in each worker's log
        app.runtime.database.upgrade()
        names = [f"worker-{number}" for number in range(1, workers + 1)]
        for name in names:
            fleet.start_worker(name)
        fleet.start_beat()
        flower = fleet.start_flower(flower_port)
        console.print(f"Flower is at [bold]{flower}[/]; Ctrl-C ends everything")
        fleet.processes.follow(lambda name, line: console.print(_prefixed(name, line), soft_wrap=True))
        fleet.processes.check(*names)


def _prefixed(name: str, line: str) -> Text:
    return Text.assemble((f"{name:>9} | ", COLOURS[sum(name.encode()) % len(COLOURS)]), line)
