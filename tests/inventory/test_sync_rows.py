"""The state machine's statements on each database that keeps an inventory."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import insert, select, update

from tasks.inventory import Database, Subcloud, SyncFailure, SyncState, sync_requests, sync_rows

NAMES = [f"subcloud-{number}" for number in range(20)]


def _row(database: Database, name: str) -> Subcloud:
    with database.reading() as session:
        return session.scalars(select(Subcloud).where(Subcloud.name == name)).one()


def _take(database: Database, limit: int) -> list[str]:
    with database.session() as session:
        return [one.name for one in sync_rows.take_due(session, limit=limit, again_after=60, retries=99)]


def test_a_sync_goes_from_its_request_through_a_failure_to_its_completion(database: Database) -> None:
    with database.session() as session:
        session.execute(insert(Subcloud), [{"name": name, "driver": "fake"} for name in NAMES])
        tickets = sync_requests.update_states(session, None, managed=True, online=True)
    assert [ticket.name for ticket in tickets] == sorted(NAMES)
    name, generation = tickets[0].name, tickets[0].generation

    # Given a claim, which a second one does not get
    with database.session() as session:
        row = sync_rows.claim(session, name, generation, owner="me", lease=60)
        assert row is not None
        assert sync_rows.claim(session, name, generation, owner="you", lease=60) is None

    # When it fails at its second step and is claimed again, then it is there that it goes on
    with database.session() as session:
        assert sync_rows.advance(session, row, step="keys", lease=60)
        assert sync_rows.renew(session, row, lease=60)
        assert sync_rows.fail(session, row, error="no", failure=SyncFailure.TIMEOUT, hold_off=0, max_attempts=9)
    with database.session() as session:
        sync_rows.take_due(session, limit=99, again_after=60, retries=9)
        again = sync_rows.claim(session, name, generation, owner="me", lease=60)
    assert again is not None
    assert (again.step, again.attempts, again.unreachable) == ("keys", 2, 1)

    # When it is given back, then that was no attempt; when it is completed, then nothing of the trouble is left
    with database.session() as session:
        assert sync_rows.give_back(session, again, error="busy", failure=SyncFailure.CENTRE, delay=0)
    assert _row(database, name).attempts == 1
    with database.session() as session:
        last = sync_rows.claim(session, name, generation, owner="me", lease=60)
        assert last is not None
        assert sync_rows.complete(session, last)
        assert not sync_rows.complete(session, last)
    done = _row(database, name)
    assert (done.state, done.failure, done.last_error, done.enabled) == (SyncState.COMPLETED, None, None, True)


def test_what_is_due_is_handed_out_once_however_many_ask_at_the_same_time(database: Database) -> None:
    with database.session() as session:
        session.execute(insert(Subcloud), [{"name": name, "driver": "fake"} for name in NAMES])
        sync_requests.update_states(session, NAMES, managed=True, online=True)
    with ThreadPoolExecutor(4) as pool:
        taken = [name for names in pool.map(lambda _: _take(database, 6), range(4)) for name in names]
    assert sorted(taken) == sorted(set(taken))
    assert sorted(taken + _take(database, 99)) == sorted(NAMES)


def test_a_lease_that_ended_requests_the_sync_anew(database: Database) -> None:
    with database.session() as session:
        session.execute(insert(Subcloud).values(name="subcloud-1", driver="fake", state=SyncState.IN_PROGRESS))
        session.execute(update(Subcloud).values(claimed_by="worker-1", lease_until=1.0, attempts=1))
        assert sync_rows.requeue_abandoned(session, max_attempts=20) == 1
        assert sync_rows.requeue_abandoned(session, max_attempts=20) == 0
    row = _row(database, "subcloud-1")
    assert (row.state, row.failure) == (SyncState.REQUESTED, "worker-lost")
    assert "its worker, worker-1, died" in (row.last_error or "")
    assert _take(database, 9) == ["subcloud-1"]
