"""``fleetring demo``: the whole system at work on this machine."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.live import Live

from tasks.app import app
from tasks.cli.demo import verdict as verdicts
from tasks.cli.demo.picture import Picture, Snapshot, plain_line
from tasks.cli.demo.scenario import request_syncs, send_actions
from tasks.cli.demo.watch import EventListener, Sent, queue_depths
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
    with app.runtime.database.reading() as session:
        node_names = [node.name for node in nodes.list_(session)]
        subcloud_names = [subcloud.name for subcloud in subclouds.list_(session)]
    with EventListener() as listener:
        sent = list(send_actions(node_names))
        requested_at = time.time()
        request_syncs(subcloud_names)
        states = _watch(console, world, sent, began + timeout)
    verdict = verdicts.reach()
    console.print(verdicts.timing_table(sent, states, listener))
    console.print(verdicts.sync_table(requested_at))
    console.print(verdicts.verdict_table(verdict))
    unfinished = [one for one in sent if states[one.task_id] != "succeeded"]
    for text in (*verdict.nodes_wrong, *verdict.subclouds_wrong, *(_describe(one, states) for one in unfinished)):
        console.print(text, style="red", highlight=False, markup=False)
    console.print(f"took {time.monotonic() - began:.0f} s")
    return verdict.good and not unfinished


def _describe(sent: Sent, states: Mapping[str, str]) -> str:
    state = states[sent.task_id]
    return f"{sent.action} of {', '.join(sent.nodes)} {state}" + (f": {sent.result}" if state == "failed" else "")


def _watch(console: Console, world: DemoWorld, sent: Sequence[Sent], deadline: float) -> Mapping[str, str]:
    """Show what happens until all is done or the time is up, and return the state of every action at the end."""
    began, picture, spoken = time.monotonic(), Picture(), ""
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            states = {one.task_id: one.state for one in sent}
            snapshot = _snapshot(sent, states)
            if console.is_terminal:
                live.update(picture.draw(snapshot), refresh=True)
            elif (line := plain_line(snapshot)) != spoken:
                spoken = line
                console.print(
                    f"[{time.monotonic() - began:5.1f} s] {line}", soft_wrap=True, highlight=False, markup=False
                )
            if snapshot.done >= snapshot.total or time.monotonic() > deadline:
                return states
            world.ensure_a_worker_is_left(WORKERS)
            time.sleep(0.5)


def _snapshot(sent: Sequence[Sent], states: Mapping[str, str]) -> Snapshot:
    actions: dict[str, Counter[str]] = {kind: Counter() for kind in sorted({one.action for one in sent})}
    for one in sent:
        actions[one.action][states[one.task_id]] += 1
    with app.runtime.database.reading() as session:
        syncs = Counter(row.state.value for row in subclouds.list_(session))
    return Snapshot(
        actions=actions,
        subclouds=syncs,
        holders=[
            (holder.name, holder.mode.value, holder.purpose)
            for lock in app.runtime.locks.list()
            for holder in lock.holders
        ],
        waiters=[(", ".join(one.nodes), one.action) for one in sent if states[one.task_id] == "waiting for a lock"],
        queues=queue_depths(("actions", "periodic")),
    )
