import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from locking import ResourceLocked
from tasks import app, initial_sync, settings
from tasks.drivers import Centre, DriverError
from tasks.drivers.central_rows import central_digest
from tasks.drivers.identity_seed import seed_central
from tasks.inventory import Subcloud, SyncFailure, SyncState, SyncTicket, UnknownSubcloud, sync_requests, sync_rows


def sync(name: str, generation: int) -> Any:
    """Run a sync's message in this process, with real locks, database and drivers."""
    return initial_sync.synchronise.apply(args=(name, generation), throw=True).get()


def rewrite(name: str, **values: Any) -> None:
    """Change a row behind everybody's back."""
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).where(Subcloud.name == name).values(**values))


def take_due(retries: int = 10) -> list[SyncTicket]:
    """Take what is due."""
    with app.runtime.database.session() as session:
        sync_rows.requeue_abandoned(session, max_attempts=20)
        return sync_rows.take_due(session, limit=10, again_after=60, retries=retries)


def request(name: str) -> int:
    """Request a sync and return its generation."""
    with app.runtime.database.session() as session:
        [ticket] = sync_requests.update_states(session, [name], managed=True, online=True)
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
        return first.run(driver)

    monkeypatch.setitem(initial_sync.STEPS, "identity", dataclasses.replace(first, run=go_offline))

    # When it runs, then no further step is taken and the cancel stands
    assert sync(subcloud, request(subcloud)) == {"outcome": "ended", "because": "cancelled"}
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

    # When its lease has ended, then it is due, ahead of fresh requests, and another worker does it
    rewrite(subcloud, lease_until=1.0)
    assert [(ticket.name, ticket.taken_over) for ticket in take_due()] == [(subcloud, True)]
    assert sync(subcloud, generation)["outcome"] == "completed"

    # Then the dead one, should it wake up, changes nothing
    with app.runtime.database.session() as session:
        assert not sync_rows.complete(session, dead)
        failure = {"error": "late", "failure": SyncFailure.ERROR, "hold_off": 1, "max_attempts": 1}
        assert not sync_rows.fail(session, dead, **failure)


def test_a_message_that_comes_again_takes_over_from_its_own_dead_run_and_another_message_does_not(
    fleet: Any, subcloud: str
) -> None:
    # Given a run whose claim would last for an hour, and which is dead: nobody holds the lock
    generation = request(subcloud)
    with app.runtime.database.session() as session:
        owner = "w1@x:7:123:the message"
        dead = sync_rows.claim(session, subcloud, generation, owner=owner, lease=3600, message="the message")
    assert dead is not None

    def deliver(message: str) -> Any:
        task = initial_sync.synchronise
        return task.apply(args=(subcloud, generation), task_id=message, throw=True).get()["outcome"]

    # When another message comes, then the claim stands
    assert deliver("another message") == "no longer required"

    # When the lock is still held, then the same message comes again
    with app.runtime.locks.acquire(f"subcloud:{subcloud}"), pytest.raises(ResourceLocked):
        deliver("the message")

    # When the broker delivers it again and the lock is free, then it goes on at once
    assert deliver("the message") == "completed"
    with app.runtime.database.session() as session:
        assert not sync_rows.complete(session, dead)


def test_two_runs_of_one_message_in_one_process_are_told_apart(fleet: Any, subcloud: str) -> None:
    # Given a run that stood still in its first step, for so long that its lock was taken from it
    generation = request(subcloud)
    owners = []
    for _ in range(2):
        with app.runtime.locks.acquire(f"subcloud:{subcloud}") as lock, app.runtime.database.session() as session:
            owner = f"w1@x:7:{lock.fence}:the message"
            owners.append(sync_rows.claim(session, subcloud, generation, owner=owner, lease=60, message="the message"))

    # Then only the newer one may go on
    older, newer = owners
    with app.runtime.database.session() as session:
        assert older is not None
        assert newer is not None
        assert not sync_rows.renew(session, older, lease=60)
        assert sync_rows.renew(session, newer, lease=60)


def test_what_is_due_is_handed_out_once_fresh_requests_first(fleet: Any) -> None:
    # Given a request that failed before and a fresh one
    for name in ("old", "fresh"):
        request(fleet.add_subcloud(name).name)
    rewrite("old", state=SyncState.FAILED, attempts=1, failure=SyncFailure.REFUSED, next_attempt_at=1.0)

    # When they are taken twice, then each comes once, the fresh one first
    assert [ticket.name for ticket in take_due()] == ["fresh", "old"]
    assert take_due() == []


def test_dispatch_sends_a_request_whose_message_was_lost(fleet: Any, subcloud: str) -> None:
    request(subcloud)
    assert initial_sync.dispatch() == 1
    assert initial_sync.dispatch() == 0


def test_a_request_whose_subcloud_is_locked_by_somebody_else_comes_again(fleet: Any, subcloud: str) -> None:
    # Given a lock that an older, cancelled run still holds
    generation = request(subcloud)
    with app.runtime.locks.acquire(f"subcloud:{subcloud}"):
        # When the message of the new request comes, then it goes back into its queue (which raises outside of a worker)
        with pytest.raises(ResourceLocked):
            sync(subcloud, generation)
        # When the holder is at work on this very request, then it is left to them
        rewrite(subcloud, state=SyncState.IN_PROGRESS, lease_until=2**40)
        assert sync(subcloud, generation) == {"outcome": "left to the holder of its lock"}


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
    assert central_digest(Centre(own)) == central_digest(Centre(centre))


@pytest.mark.parametrize(("attempts", "bound"), [(1, 60), (2, 120), (5, 960), (900, 3600)])
def test_the_hold_off_is_drawn_from_a_bound_that_doubles_up_to_its_cap(
    folder: Any, attempts: int, bound: float
) -> None:
    drawn = [initial_sync.hold_off_after(attempts, settings.load()) for _ in range(200)]
    assert 0 <= min(drawn) < bound / 4
    assert bound * 3 / 4 < max(drawn) <= bound


def test_the_original_hold_off_is_there_for_those_who_want_it(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETRING_SYNC_HOLD_OFF_POLICY", "fixed")
    assert {initial_sync.hold_off_after(attempts, settings.load()) for attempts in (1, 2, 900)} == {60.0}


def test_the_message_goes_to_the_queue_that_the_ring_gives(
    fleet: Any, subcloud: str, queued: Callable[[], dict[str, int]]
) -> None:
    initial_sync.update_state(subcloud, managed=True, online=True)
    route = app.amqp.router.route({}, initial_sync.synchronise.name, args=(subcloud, 1), kwargs={})
    assert queued() == {route["queue"].name: 1}
