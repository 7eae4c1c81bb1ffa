"""``fleetring demo``: the whole system at work on this machine."""

import sys
import time
from collections import Counter
from collections.abc import Sequence

import click
from rich.console import Console
from rich.live import Live

from tasks.app import app
from tasks.cli.demo import verdict as verdicts
from tasks.cli.demo.picture import Picture, Snapshot, plain_line
from tasks.cli.demo.scenario import request_syncs, send_actions
from tasks.cli.demo.watch import EventListener, Sent, count_states, queue_depths
from tasks.cli.demo.world import EXAMPLE_BMC_PORT, DemoWorld, refuse_foreign_settings
from tasks.cli.errors import FAILED
from tasks.inventory import nodes, subclouds

WORKERS = ("worker-1", "worker-2")


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running at the end, with Flower, until Ctrl-C.")
@click.option("--bmc-port", default=EXAMPLE_BMC_PORT, show_default=True, help="Loopback port of the emulated BMCs.")
@click.option("--flower-port", default=5555, show_default=True, help="Loopback port of Flower, with --keep.")
@click.option("--timeout", default=110.0, show_default=True, help="Seconds until the demo gives up.")
def demo(keep: bool, bmc_port: int, flower_port: int, timeout: float) -> None:
    """Power on 24 real Redfish BMCs and synchronise 12 subclouds, and show how.

    Everything runs on this machine, in .fleetring/ below the current folder: a private Valkey, 24 emulated BMCs,
    12 empty databases, two workers and a beat, each a process of its own. At the end every BMC is asked and every
    database is read; the exit status is 0 only if all of them agree.

    \b
    Examples:
      fleetring demo
      fleetring demo --keep                 then: celery -A tasks inspect active
      fleetring demo --bmc-port 18001       when 18000 is taken
    """  # noqa: D301 - click's \b keeps the lines of a paragraph apart
    console = Console()
    refuse_foreign_settings()
    with DemoWorld(bmc_port) as world:
        console.print("starting a broker, 24 BMCs, 12 subclouds, two workers and a beat ...")
        world.build()
        flower = world.start_flower(flower_port) if keep else None
        good = _run(console, world, timeout)
        if flower:
            console.print(f"still running: Flower at [bold]{flower}[/], logs in {world.processes.logs}; Ctrl-C ends it")
            world.processes.follow(lambda _name, _line: None)
    sys.exit(0 if good else FAILED)


def _run(console: Console, world: DemoWorld, timeout: float) -> bool:
    began = time.monotonic()
    with EventListener() as listener:
        with app.runtime.database.reading() as session:
            node_names = [node.name for node in nodes.list_(session)]
            subcloud_names = [subcloud.name for subcloud in subclouds.list_(session)]
        sent = list(send_actions(node_names))
        request_syncs(subcloud_names)
        _watch(console, world, sent, began + timeout)
    verdict = verdicts.reach()
    console.print(verdicts.timing_table(sent, listener))
    console.print(verdicts.verdict_table(verdict))
    for wrong in (*verdict.nodes_wrong, *verdict.subclouds_wrong):
        console.print(f"[red]{wrong}", highlight=False)
    failed = [action for action in sent if action.state != "succeeded"]
    for action in failed:
        console.print(f"[red]{action.action} of {', '.join(action.targets)}: {action.state}: {action.result.info}")
    console.print(f"took {time.monotonic() - began:.0f} s")
    return verdict.good and not failed


def _watch(console: Console, world: DemoWorld, sent: Sequence[Sent], deadline: float) -> None:
    """Show what happens until all is done or the time is up."""
    began, picture, spoken = time.monotonic(), Picture(), ""
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            snapshot = _snapshot(sent)
            if console.is_terminal:
                live.update(picture.draw(snapshot), refresh=True)
            elif (line := plain_line(time.monotonic() - began, snapshot)).partition("]")[2] != spoken:
                spoken = line.partition("]")[2]
                console.print(line, soft_wrap=True, highlight=False)
            if snapshot.done >= snapshot.total or time.monotonic() > deadline:
                return
            world.ensure_a_worker_is_left(WORKERS)
            time.sleep(0.5)


def _snapshot(sent: Sequence[Sent]) -> Snapshot:
    actions = {kind: count_states([one for one in sent if one.action == kind]) for kind in {one.action for one in sent}}
    with app.runtime.database.reading() as session:
        states = Counter(row.state.value for row in subclouds.list_(session))
    held = [(lock.name, holder.mode.value, holder.purpose) for lock in app.runtime.locks.list() for holder in lock.holders]
    waiting = [(", ".join(one.targets), one.action) for one in sent if one.state == "waiting for a lock"]
    return Snapshot(dict(sorted(actions.items())), states, held, waiting, queue_depths(("actions", "periodic")))
