"""What requests initial syncs, calls them off and hands them out: one subcloud or thousands."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from tasks import app, initial_sync, settings
from tasks.inventory import Subcloud, SyncFailure, SyncState, UnknownSubcloud, sync_rows
from tasks.priority import Priority
from tests.processes import wait_until


def sync(name: str) -> Any:
    """Run the sync that is requested in this process."""
    with app.runtime.database.reading() as session:
        generation = session.scalars(select(Subcloud.generation).where(Subcloud.name == name)).one()
    return initial_sync.synchronise.apply(args=(name, generation), throw=False).result


def rewrite(*names: str, **values: Any) -> None:
    """Change rows behind everybody's back."""
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).where(Subcloud.name.in_(names)).values(**values))


def add(count: int, **values: Any) -> list[str]:
    """Put so many subclouds into the inventory."""
    names = [f"subcloud-{number:04d}" for number in range(count)]
    with app.runtime.database.session() as session:
        session.execute(insert(Subcloud), [{"name": name, "driver": "fake", **values} for name in names])
    return names


def states() -> dict[str, SyncState]:
    """The state of every subcloud."""
    with app.runtime.database.reading() as session:
        return {name: state for name, state in session.execute(select(Subcloud.name, Subcloud.state))}  # noqa: C416 - rows


@pytest.fixture
def waiting(valkey_url: str) -> Callable[[], dict[str, int]]:
    """The waiting messages, with their priorities."""

    def look() -> dict[str, int]:
        with app.queues() as queues:
            tasks = [task for name in app.amqp.queues for task in queues.tasks(name, limit=5000)]
        return {task.id: task.priority for task in tasks}

    return look


def test_thousands_come_online_in_one_statement_and_each_gets_one_message(
    fleet: Any, waiting: Callable[[], dict[str, int]]
) -> None:
    # Given two thousand managed subclouds
    names = add(2000, managed=True)
    statements: list[str] = []

    @event.listens_for(app.runtime.database.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    # When all are said to be online
    requested = initial_sync.update_states(names, online=True)

    # Then one statement changed their rows, and each has one message
    assert len([text for text in statements if text.startswith("UPDATE")]) == 1
    assert set(states().values()) == {SyncState.REQUESTED}
    assert len(requested) == len(waiting()) == 2000

    # When that is said again, of all, then nothing is requested twice
    assert initial_sync.update_states(None, online=True) == []
    assert len(waiting()) == 2000


def test_nothing_is_changed_when_one_of_the_names_is_unknown(fleet: Any) -> None:
    names = add(3, managed=True)
    with pytest.raises(UnknownSubcloud, match="'ghost'"):
        initial_sync.update_states([*names, "ghost"], online=True)
    assert set(states().values()) == {SyncState.NONE}


def test_dispatch_sends_only_what_has_no_message_any_more(fleet: Any, waiting: Callable[[], dict[str, int]]) -> None:
    # Given two requests, of which one lost its message
    kept, lost = add(2, managed=True)
    initial_sync.update_states([kept, lost], online=True)
    with app.queues() as queues:
        queues.cancel(f"sync.{lost}.1.0")

    # When both are due for another look
    rewrite(kept, lost, next_attempt_at=1.0)

    # Then the lost one is sent again, and the other is not sent twice
    assert initial_sync.dispatch() == 1
    assert sorted(waiting()) == [f"sync.{kept}.1.0", f"sync.{lost}.1.0"]


def test_retries_go_behind_fresh_requests_and_only_so_many_at_once(
    fleet: Any, monkeypatch: pytest.MonkeyPatch, waiting: Callable[[], dict[str, int]]
) -> None:
    # Given a budget of two retries, three failures whose hold-off is over, and a fresh request
    monkeypatch.setenv("FLEETRING_SYNC_RETRIES", "2")
    settings.current.cache_clear()
    *failed, fresh = add(4, managed=True, online=True)
    rewrite(*failed, state=SyncState.FAILED, failure=SyncFailure.UNREACHABLE, attempts=1, next_attempt_at=1.0)
    rewrite(fresh, state=SyncState.REQUESTED)

    # When what is due is sent, twice
    sent = initial_sync.dispatch(), initial_sync.dispatch()

    # Then two of the failures are among it, behind the fresh one, and the third waits until one of them has ended
    assert sent == (3, 0)
    assert sorted(waiting().values()) == [Priority.NORMAL, Priority.LOW, Priority.LOW]
    rewrite(failed[0], state=SyncState.COMPLETED, failure=None)
    assert initial_sync.dispatch() == 1


def test_a_subcloud_that_is_known_to_be_dead_goes_behind_the_others_even_when_it_is_requested_anew(
    fleet: Any, waiting: Callable[[], dict[str, int]]
) -> None:
    # Given a subcloud where nobody answered three times in a row
    name = fleet.add_subcloud("flapping", unreachable=True).name
    initial_sync.update_state(name, managed=True, online=True)
    for _ in range(3):
        sync(name)
        rewrite(name, state=SyncState.REQUESTED)
    assert fleet.subcloud(name).unreachable == 3

    # When it flaps, then its new request is a retry
    initial_sync.update_state(name, online=False)
    initial_sync.update_state(name, online=True)
    assert list(waiting().values())[-1] == Priority.LOW

    # When it answers again, then it is as good as any other
    rewrite(name, driver_info={})
    assert sync(name)["outcome"] == "completed"
    assert fleet.subcloud(name).unreachable == 0


def test_after_the_last_attempt_a_subcloud_is_parked_until_somebody_asks_for_a_retry(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a limit of two attempts, and a subcloud that refuses its keys
    monkeypatch.setenv("FLEETRING_SYNC_MAX_ATTEMPTS", "2")
    settings.current.cache_clear()
    name = fleet.add_subcloud("subcloud-1", fail=["distribute_keys"]).name
    initial_sync.update_state(name, managed=True, online=True)

    # When both have failed
    sync(name)
    assert fleet.subcloud(name).parked_at is None
    rewrite(name, state=SyncState.REQUESTED)
    sync(name)

    # Then it is parked, and not due, however long it waits
    row = fleet.subcloud(name)
    assert (row.state, row.attempts, row.next_attempt_at, row.step) == (SyncState.FAILED, 2, None, "keys")
    assert row.parked_at == pytest.approx(time.time(), abs=10)
    assert initial_sync.dispatch() == 0

    # When the cause is gone and somebody asks for a retry, then it goes on with the step that failed
    rewrite(name, driver_info={})
    [ticket] = initial_sync.retry([name])
    assert (ticket.attempts, fleet.subcloud(name).parked_at) == (0, None)
    assert list(sync(name)) == ["outcome", "keys", "audit-reset", "enable"]


def test_a_subcloud_that_kills_its_workers_is_parked_in_the_end(fleet: Any) -> None:
    # Given a sync that was begun twice and lost its worker each time
    name = fleet.add_subcloud("killer").name
    rewrite(name, state=SyncState.IN_PROGRESS, attempts=2, claimed_by="worker-1:7:x", lease_until=1.0)

    # When three attempts are allowed, then it is taken over; when two are, it is parked
    def requeue(max_attempts: int) -> Any:
        with app.runtime.database.session() as session:
            assert sync_rows.requeue_abandoned(session, max_attempts=max_attempts) == 1
        return fleet.subcloud(name)

    assert requeue(3).state is SyncState.REQUESTED
    rewrite(name, state=SyncState.IN_PROGRESS, claimed_by="worker-1:7:x", lease_until=1.0)
    row = requeue(2)
    assert (row.state, row.failure, row.claimed_by) == (SyncState.FAILED, "worker-lost", None)
    assert row.parked_at is not None
    assert "worker-1:7:x" in row.last_error


def test_offline_and_online_again_leaves_the_heavy_step_out_but_unmanaged_and_an_operators_sync_do_not(
    fleet: Any,
) -> None:
    # Given a synchronised subcloud
    name = fleet.add_subcloud("subcloud-1").name
    initial_sync.update_state(name, managed=True, online=True)
    assert "identity" in sync(name)

    # When it was only out of reach, then its identity rows are not written again
    for change in ({"online": False}, {"online": True}):
        initial_sync.update_state(name, **change)
    assert list(sync(name)) == ["outcome", "keys", "audit-reset", "enable"]

    # When an operator asks for a sync, or it was unmanaged meanwhile, then they are
    assert [ticket.name for ticket in initial_sync.request([name])] == [name]
    assert "identity" in sync(name)
    for change in ({"managed": False}, {"managed": True}):
        initial_sync.update_state(name, **change)
    assert "identity" in sync(name)


def test_a_sync_is_asked_for_where_it_is_possible_and_called_off_where_it_is_pending(fleet: Any) -> None:
    # Given a subcloud in each state, and one that is offline
    names = add(len(SyncState), managed=True, online=True)
    for name, state in zip(names, SyncState, strict=True):
        rewrite(name, state=state, generation=5)
    fleet.add_subcloud("offline")
    idle, requested, running, completed, failed = names

    # When all are asked for, then those that are under way, and the one out of reach, are left alone
    assert [ticket.name for ticket in initial_sync.request(None)] == [idle, completed, failed]

    # When all are called off, then each pending one is, under a new generation
    called_off = initial_sync.cancel(None)
    assert {ticket.name: ticket.generation for ticket in called_off} == {
        idle: 7, requested: 6, running: 6, completed: 7, failed: 7
    }  # fmt: skip
    assert set(states().values()) == {SyncState.NONE}


def test_the_original_sweep_requests_everything_unfinished_anew(fleet: Any) -> None:
    names = add(len(SyncState), managed=True, online=True)
    for name, state in zip(names, SyncState, strict=True):
        rewrite(name, state=state, lease_until=2**40)
    assert initial_sync.sweep() == 2
    assert list(states().values()) == [
        SyncState.NONE,
        SyncState.REQUESTED,
        SyncState.REQUESTED,
        SyncState.COMPLETED,
        SyncState.REQUESTED,
    ]


@pytest.mark.system
def test_a_worker_that_is_to_sweep_when_it_starts_requests_what_is_unfinished_and_does_it(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a failed sync whose hold-off lasts for days, and one in progress whose worker is gone
    failed, abandoned = add(2, managed=True, online=True, generation=1)
    rewrite(failed, state=SyncState.FAILED, attempts=1, failure=SyncFailure.REFUSED, next_attempt_at=2**40)
    rewrite(abandoned, state=SyncState.IN_PROGRESS, attempts=1, claimed_by="gone:1:1:x", lease_until=2**40)

    # When a worker starts that is told to do as the original did, then both are requested anew
    monkeypatch.setenv("FLEETRING_SYNC_RESTART", "sweep")
    monkeypatch.setenv("FLEETRING_CONSUME", "initial-sync")
    with fleet.worker("--pool", "threads"):
        wait_until(lambda: set(states().values()) == {SyncState.REQUESTED})

        # And with the next dispatch they are done
        initial_sync.dispatch()
        wait_until(lambda: set(states().values()) == {SyncState.COMPLETED})
