from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from tasks import app, initial_sync, settings
from tasks.drivers import DriverError
from tasks.drivers.identity_seed import seed_central
from tasks.drivers.sql import database_digest
from tasks.inventory import Subcloud, SyncState, UnknownSubcloud, sync_rows


def sync(name: str, generation: int) -> Any:
    """Run a sync's message in this process, with real locks, database and drivers."""
    return initial_sync.synchronise.apply(args=(name, generation), throw=True).get()


def rewrite(name: str, **values: Any) -> None:
    """Change a row behind everybody's back."""
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).where(Subcloud.name == name).values(**values))


def take_due() -> list[sync_rows.SyncTicket]:
    """Take what is due."""
    with app.runtime.database.session() as session:
        return sync_rows.take_due(session, limit=10, again_after=60)


def request(name: str) -> int:
    """Request a sync and return its generation."""
    with app.runtime.database.session() as session:
        ticket = sync_rows.update_state(session, name, managed=True, online=True)
    assert ticket is not None
    return ticket.generation


@pytest.fixture
def subcloud(fleet: Any) -> str:
    """The name of a fake subcloud."""
    return str(fleet.add_subcloud("subcloud-1").name)


def test_managed_and_online_together_request_a_sync_which_then_runs_all_steps(fleet: Any, subcloud: str) -> None:
    # Given a subcloud that is managed, which is not enough
    assert initial_sync.update_state(subcloud, managed=True) is False
    assert fleet.subcloud(subcloud).state is SyncState.NONE

    # When it comes online, then a sync is requested
    assert initial_sync.update_state(subcloud, online=True) is True
    assert fleet.subcloud(subcloud).state is SyncState.REQUESTED

    # When its message is worked on, then all steps run in their order, and the row says so
    outcome = sync(subcloud, fleet.subcloud(subcloud).generation)
    assert list(outcome) == ["outcome", "identity", "keys", "audit-reset", "enable"]
    row = fleet.subcloud(subcloud)
    assert (row.state, row.enabled, row.step, row.claimed_by) == (SyncState.COMPLETED, True, None, None)
    assert row.last_synced_at is not None


def test_a_notice_that_changes_nothing_is_ignored(fleet: Any, subcloud: str) -> None:
    generation = request(subcloud)
    assert initial_sync.update_state(subcloud, managed=True, online=True) is False
    assert fleet.subcloud(subcloud).generation == generation


def test_a_second_message_of_a_done_sync_does_nothing(fleet: Any, subcloud: str) -> None:
    generation = request(subcloud)
    sync(subcloud, generation)
    assert sync(subcloud, generation) == {"outcome": "no longer required"}


def test_a_message_of_an_older_request_does_nothing(fleet: Any, subcloud: str) -> None:
    # Given a request that was cancelled and made again
    old = request(subcloud)
    initial_sync.update_state(subcloud, online=False)
    new = request(subcloud)

    # When the old message comes, then only the new one counts
    assert sync(subcloud, old) == {"outcome": "no longer required"}
    assert sync(subcloud, new)["outcome"] == "completed"


def test_going_offline_cancels_a_sync_between_two_steps(
    fleet: Any, subcloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a sync during whose first step the subcloud goes offline
    first = initial_sync.STEPS["identity"]

    def go_offline(driver: Any) -> object:
        initial_sync.update_state(subcloud, online=False)
        return first(driver)

    monkeypatch.setitem(initial_sync.STEPS, "identity", go_offline)

    # When it runs, then no further step is taken and the cancel stands
    assert sync(subcloud, request(subcloud)) == {"outcome": "cancelled", "before": "keys"}
    assert fleet.subcloud(subcloud).state is SyncState.NONE


def test_a_failure_is_recorded_held_off_and_resumed_at_the_step_that_failed(fleet: Any) -> None:
    # Given a subcloud that refuses the keys once
    name = fleet.add_subcloud("subcloud-1", fail_first={"distribute_keys": 1}).name
    generation = request(name)

    # When its sync runs, then the failure is in the row, in words, and it is not due at once
    with pytest.raises(DriverError):
        sync(name, generation)
    row = fleet.subcloud(name)
    assert (row.state, row.step, row.attempts, row.enabled) == (SyncState.FAILED, "keys", 1, False)
    assert row.last_error
    assert take_due() == []

    # When its hold-off is over, then the next attempt begins with the keys, and ends well
    rewrite(name, next_attempt_at=0.0)
    assert [ticket.name for ticket in take_due()] == [name]
    assert list(sync(name, generation)) == ["outcome", "keys", "audit-reset", "enable"]
    assert fleet.subcloud(name).last_error is None


def test_a_subcloud_whose_worker_died_is_due_when_the_lease_ends_and_not_before(fleet: Any, subcloud: str) -> None:
    # Given a claim
    generation = request(subcloud)
    with app.runtime.database.session() as session:
        dead = sync_rows.claim(session, subcloud, generation, owner="dead worker", lease=60)
    assert dead is not None
    assert take_due() == []
    assert sync(subcloud, generation) == {"outcome": "no longer required"}

    # When its lease has ended, then it is due, and another worker does it
    rewrite(subcloud, lease_until=1.0)
    assert [ticket.name for ticket in take_due()] == [subcloud]
    assert sync(subcloud, generation)["outcome"] == "completed"

    # Then the dead one, should it wake up, changes nothing
    with app.runtime.database.session() as session:
        assert not sync_rows.complete(session, dead)
        assert not sync_rows.fail(session, dead, error="late", hold_off=1)


def test_what_is_due_is_handed_out_once_fresh_requests_first(fleet: Any) -> None:
    # Given a request that failed before and a fresh one
    for name in ("old", "fresh"):
        request(fleet.add_subcloud(name).name)
    rewrite("old", state=SyncState.FAILED, attempts=3, next_attempt_at=1.0)

    # When they are taken twice, then each comes once, the fresh one first
    assert [ticket.name for ticket in take_due()] == ["fresh", "old"]
    assert take_due() == []


def test_dispatch_sends_a_request_whose_message_was_lost(fleet: Any, subcloud: str) -> None:
    request(subcloud)
    assert initial_sync.dispatch() == 1
    assert initial_sync.dispatch() == 0


def test_a_busy_subcloud_is_left_to_the_holder_of_its_lock(fleet: Any, subcloud: str) -> None:
    generation = request(subcloud)
    with app.runtime.locks.acquire(f"subcloud:{subcloud}"):
        assert sync(subcloud, generation) == {"outcome": "left to the holder of its lock"}
    assert fleet.subcloud(subcloud).state is SyncState.REQUESTED


def test_an_unknown_subcloud_is_named(fleet: Any) -> None:
    with pytest.raises(UnknownSubcloud, match="'ghost'"):
        initial_sync.update_state("ghost", managed=True)


def test_the_sql_driver_brings_an_empty_database_to_the_rows_of_the_centre(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a centre with rows and a subcloud with an empty database
    centre, own = f"sqlite:///{fleet.folder}/centre.db", f"sqlite:///{fleet.folder}/subcloud.db"
    monkeypatch.setenv("FLEETRING_IDENTITY_URL", centre)
    settings.current.cache_clear()
    seed_central(centre, users=20)
    name = fleet.add_subcloud("subcloud-1", driver="sql", database_url=own).name

    # When it is synchronised
    outcome = sync(name, request(name))

    # Then it holds the very rows
    assert outcome["identity"]["inserted"]["users"] == 20
    assert database_digest(own) == database_digest(centre)


@pytest.mark.parametrize(("attempts", "least", "most"), [(1, 30, 60), (2, 60, 120), (5, 480, 960), (900, 1800, 3600)])
def test_the_hold_off_doubles_up_to_its_cap_with_jitter_below(
    folder: Any, attempts: int, least: float, most: float
) -> None:
    drawn = {initial_sync.hold_off_after(attempts, settings.load()) for _ in range(50)}
    assert all(least <= hold_off <= most for hold_off in drawn)
    assert len(drawn) > 1


def test_the_message_goes_to_the_queue_that_the_ring_gives(
    fleet: Any, subcloud: str, queued: Callable[[], dict[str, int]]
) -> None:
    initial_sync.update_state(subcloud, managed=True, online=True)
    route = app.amqp.router.route({}, initial_sync.synchronise.name, args=(subcloud, 1), kwargs={})
    assert queued() == {route["queue"].name: 1}
