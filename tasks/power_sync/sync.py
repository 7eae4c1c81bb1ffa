"""One pass over a share of the nodes: look at each, and write down what is new."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from random import sample
from typing import Any

from celery.utils.log import get_task_logger

from locking import LockMode, ResourceLocked
from tasks.app import app
from tasks.drivers import DriverNotLoaded, UnknownDriver, node_drivers
from tasks.inventory import power_rows
from tasks.inventory.power_rows import KnownPower
from tasks.power_sync.verdict import Sighting, changes_after

logger = get_task_logger(__name__)

#: Rows that are read in one statement, and news that are written in one transaction.
BATCH = 200
#: The part of the looks side by side that is left to nodes which did not answer lately: each may cost a time-out.
SUSPECTS = 0.25
#: For so many seconds one answer of who holds locks is good enough; the row's version is what is relied on.
LOCKS_KNOWN_FOR = 5.0
#: News wait so many seconds at the most before they are written.
NEWS_WAIT = 1.0

Look = tuple[KnownPower, Sighting]


def nodes_in_service() -> Sequence[str]:
    """Names of all nodes whose power is to be watched, those that did not answer lately first."""
    with app.runtime.database.reading() as session:
        return power_rows.in_service(session)


def sync(names: Sequence[str], *, within: float) -> Counter[str]:
    """Compare these nodes' power with their rows, and write down what is new.

    Those that did not answer lately go first, on lanes of their own, so that they hold up nobody.

    Args:
        names: the nodes.
        within: seconds after which no further look begins; what is left is for the next pass.

    Returns:
        How many were looked at, changed, without an answer, given up, parked, busy with somebody's work, and left.
    """
    with app.runtime.database.reading() as session:
        silent = set(power_rows.silent(session))
    suspects = [name for name in names if name in silent]
    others = [name for name in names if name not in silent]
    few = lanes_for_suspects(len(suspects), len(others), app.settings.power_sync_parallel)
    deadline = time.monotonic() + within
    streams = (
        Stream(suspects, few, deadline),
        Stream(sample(others, len(others)), app.settings.power_sync_parallel - few, deadline),  # no rack at once
    )
    with ThreadPoolExecutor(len(streams), "power-stream") as both:
        counts: Counter[str] = sum(both.map(Stream.run, streams), Counter())
    logger.info("power sync of %d nodes: %s", len(names), dict(counts))
    return counts


def lanes_for_suspects(suspects: int, others: int, lanes: int) -> int:
    """How many of the lanes the nodes that did not answer lately get: a part of them, and none that would be idle."""
    share = lanes if not others else max(1, round(lanes * SUSPECTS))
    return min(share, suspects)


class Stream:
    """Looks at nodes side by side, and writes what it found, many at a time.

    A look takes no lock, so that it is in nobody's way. What it found is written under the lock, and only where the row
    is still the one that was read: whoever worked on the node meanwhile knows better.

    Args:
        names: the nodes.
        lanes: looks side by side.
        deadline: when no further look begins, by the monotonic clock.
    """

    def __init__(self, names: Sequence[str], lanes: int, deadline: float) -> None:
        self._names = names
        self._lanes = lanes
        self._deadline = deadline
        self._busy: frozenset[str] = frozenset()
        self._busy_at = -LOCKS_KNOWN_FOR
        self._news: list[Look] = []
        self._written_at = time.monotonic()
        self._counts: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        """Look at all of them, and return how many turned out how."""
        if not self._names:
            return self._counts
        with ThreadPoolExecutor(self._lanes, "power-look") as pool:
            pending: set[Future[Look | None]] = set()
            for node in self._nodes():
                pending.add(pool.submit(self._look, node))
                pending = self._collect(pending, room=2 * self._lanes)
            while pending:
                pending = self._collect(pending, room=1)
        self._write()
        return self._counts

    # -- looking

    def _nodes(self) -> Iterator[KnownPower]:
        for start in range(0, len(self._names), BATCH):
            names = self._names[start : start + BATCH]
            if time.monotonic() >= self._deadline:
                self._counts["left"] += len(names)
                continue
            with app.runtime.database.reading() as session:
                loaded = power_rows.load(session, names)
            busy = self._locked()
            free = [node for node in loaded if f"node:{node.name}" not in busy]
            self._counts["busy"] += len(names) - len(free)
            yield from free

    def _locked(self) -> Collection[str]:
        """Names that somebody works on alone, or wants to."""
        if time.monotonic() - self._busy_at >= LOCKS_KNOWN_FOR:
            self._busy = frozenset(
                state.name
                for state in app.runtime.locks.list()
                if state.waiters or any(holder.mode is LockMode.EXCLUSIVE for holder in state.holders)
            )
            self._busy_at = time.monotonic()
        return self._busy

    def _look(self, node: KnownPower) -> Look | None:
        """Ask a machine; None where this worker cannot, or the time is over."""
        if time.monotonic() >= self._deadline:
            return None
        try:
            make = node_drivers.load(node.driver)
        except (UnknownDriver, DriverNotLoaded) as error:
            logger.warning("power sync: this worker cannot look at node %s: %s", node.name, error)
            return None
        try:
            with make(node.name, node.driver_info, app.runtime.credentials) as driver:
                return node, Sighting(driver.power_state())
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, it is no answer
            return node, Sighting(None, str(error) or repr(error))

    def _collect(self, pending: set[Future[Look | None]], *, room: int) -> set[Future[Look | None]]:
        """Take in what is done, and wait until fewer than `room` looks are under way."""
        while len(pending) >= room:
            done, pending = wait(pending, timeout=NEWS_WAIT, return_when=FIRST_COMPLETED)
            for future in done:
                self._take_in(future.result())
            if len(self._news) >= BATCH or time.monotonic() - self._written_at >= NEWS_WAIT:
                self._write()
        return pending

    def _take_in(self, look: Look | None) -> None:
        if look is None:
            self._counts["left"] += 1
            return
        node, seen = look
        self._counts["looked"] += 1
        self._counts["silent"] += seen.state is None
        if changes_after(node, seen, node.power_changes_since or 0.0, app.settings):
            self._news.append(look)

    # -- writing

    def _write(self) -> None:
        """Write the news of those nodes that nobody works on, or has worked on since their look."""
        news, self._news = {f"node:{node.name}": (node, seen) for node, seen in self._news}, []
        self._written_at = time.monotonic()
        if not news:
            return
        try:
            lock = app.runtime.locks.acquire_free(list(news), lease=app.settings.lock_lease, purpose="power sync")
        except ResourceLocked:
            self._counts["busy"] += len(news)
            return
        with lock:
            held = [news[name] for name in lock.names]
            with app.runtime.database.session() as session:
                still = {node.id for node in power_rows.unchanged(session, [node for node, _ in held])}
                now = power_rows.now(session)
                changes = [
                    (node, changes_after(node, seen, now, app.settings)) for node, seen in held if node.id in still
                ]
                power_rows.write(session, lock, changes)
        self._counts["busy"] += len(news) - len(changes)
        for node, change in changes:
            self._tell(node, change)

    def _tell(self, node: KnownPower, change: Mapping[str, Any]) -> None:
        if "alarm" in change:
            self._counts["parked"] += 1
            logger.warning("node %s is parked: %s", node.name, change["alarm"])
        elif change.get("maintenance"):
            self._counts["given up"] += 1
            logger.warning("node %s is in maintenance now: %s", node.name, change["maintenance_reason"])
        elif "power_state" in change:
            self._counts["changed"] += 1
            logger.info("node %s is %s, the inventory said %s", node.name, change["power_state"], node.power_state)
