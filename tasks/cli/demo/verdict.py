"""The demo's verdict: it asks every BMC and reads every subcloud's database, and believes nothing else."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import quantiles

from rich.table import Table

from tasks.app import app
from tasks.cli.demo.watch import EventListener, Sent
from tasks.drivers import DriverError, PowerState, node_drivers, subcloud_drivers
from tasks.inventory import Node, Subcloud, nodes, subclouds


@dataclass(frozen=True, slots=True)
class Verdict:
    """What hardware and databases say at the end; each text names what is wrong."""

    nodes: int
    nodes_wrong: Sequence[str]
    subclouds: int
    subclouds_wrong: Sequence[str]

    @property
    def good(self) -> bool:
        """Whether every node is on and every subcloud holds every row."""
        return not self.nodes_wrong and not self.subclouds_wrong


def reach() -> Verdict:
    """Ask every BMC over Redfish for its power state, and compare every subcloud's rows with the centre's."""
    with app.runtime.database.reading() as session:
        all_nodes, all_subclouds = nodes.list_(session), subclouds.list_(session)
    with ThreadPoolExecutor(8) as pool:
        nodes_wrong = [text for text in pool.map(_what_is_wrong_with_node, all_nodes) if text]
    subclouds_wrong = [text for subcloud in all_subclouds if (text := _what_is_wrong_with_subcloud(subcloud))]
    return Verdict(len(all_nodes), nodes_wrong, len(all_subclouds), subclouds_wrong)


def _what_is_wrong_with_node(node: Node) -> str | None:
    try:
        with node_drivers.load(node.driver)(node.name, node.driver_info, app.runtime.credentials) as driver:
            state = driver.power_state()
    except DriverError as error:
        return str(error)
    return None if state is PowerState.ON else f"the BMC of {node.name} says {state}"


def _what_is_wrong_with_subcloud(subcloud: Subcloud) -> str | None:
    make = subcloud_drivers.load(subcloud.driver)
    try:
        with make(subcloud.name, subcloud.driver_info, app.runtime.centre, app.runtime.credentials) as driver:
            digest, expected = driver.digest(), driver.central_digest(app.runtime.centre)
    except DriverError as error:
        return str(error)
    differing = sorted(table for table, value in expected.items() if digest.get(table) != value)
    return f"{subcloud.name} differs from the centre in {', '.join(differing)}" if differing else None


def timing_table(sent: Sequence[Sent], states: Mapping[str, str], listener: EventListener) -> Table:
    """Return a table of how long each kind of action waited and ran, at the median and the 95th percentile."""
    table = _table(
        "actions: seconds at the median and the 95th percentile", "action", "done", "wait", "run", "lock waits"
    )
    for name in sorted({action.action for action in sent}):
        of_kind = [action for action in sent if action.action == name]
        times = [listener.times_of(action) for action in of_kind]
        waits = [time.wait_since(action.at) for action, time in zip(of_kind, times, strict=True)]
        deferred = [time.wait_since(time.first_deferred) for time in times if time.first_deferred]
        table.add_row(
            name,
            f"{sum(states[action.task_id] == 'succeeded' for action in of_kind)} of {len(of_kind)}",
            _percentiles(waits),
            _percentiles([time.runtime for time in times]),
            f"{len(deferred)}: {_percentiles(deferred)}" if deferred else "none",
        )
    return table


def sync_table(requested_at: float) -> Table:
    """Return a table of how long the initial syncs took from their request to their completion.

    Args:
        requested_at: when they were requested, in epoch seconds.
    """
    with app.runtime.database.reading() as session:
        rows = subclouds.list_(session)
    took = [row.last_synced_at - requested_at if row.last_synced_at else None for row in rows]
    attempts = sum(row.attempts for row in rows)
    table = _table("initial syncs", "subclouds", "completed", "request to completion", "failed attempts")
    table.add_row(str(len(rows)), str(sum(row.enabled for row in rows)), _percentiles(took), str(attempts))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _percentiles(values: Sequence[float | None]) -> str:
    """The median and the 95th percentile of what is known, as ``1.2 / 3.4 s``."""
    known = [value for value in values if value is not None]
    if not known:
        return "?"
    cuts = quantiles(known * 2 if len(known) == 1 else known, n=20, method="inclusive")
    return f"{cuts[9]:.1f} / {cuts[18]:.1f} s"


def verdict_table(verdict: Verdict) -> Table:
    """Return the table that the demo ends with."""
    table = _table("what the BMCs and the subclouds' databases say", "asked", "answer")
    for what, total, wrong in (
        ("nodes on, over Redfish", verdict.nodes, verdict.nodes_wrong),
        ("subclouds synchronised, by their rows", verdict.subclouds, verdict.subclouds_wrong),
    ):
        colour = "red" if wrong else "green"
        table.add_row(what, f"[{colour}]{total - len(wrong)} of {total}")
    return table
