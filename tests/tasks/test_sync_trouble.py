"""What a sync that cannot succeed leaves on its subcloud's row: the kind of failure, and words to act on."""

import contextlib
import sqlite3
import threading
import time
import weakref
from typing import Any

import pytest
from sqlalchemy import delete, make_url, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from tasks import app, initial_sync, settings
from tasks.drivers import CredentialsRefused
from tasks.drivers.fake import FakeSubcloudDriver
from tasks.drivers.identity_seed import seed_central
from tasks.drivers.identity_tables import metadata
from tasks.initial_sync import step_thread
from tasks.initial_sync.failures import StepOverdue
from tasks.initial_sync.step_thread import Abandoned, StepThread
from tasks.inventory import Subcloud, SyncState, UnknownSubcloud, sync_rows
from tasks.storm import CentreBusy
from tests.processes import wait_until


@pytest.fixture(autouse=True)
def _impatient(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETRING_SYNC_STEP_TIMEOUT", "1.5")
    monkeypatch.setenv("FLEETRING_SYNC_PROBE_TIMEOUT", "1.5")
    settings.current.cache_clear()


def synchronise(name: str) -> Any:
    """Request a sync, run it here, and return what came of it: a result or an exception."""
    assert initial_sync.update_state(name, managed=True, online=True)
    with app.runtime.database.reading() as session:
        generation = session.query(Subcloud.generation).filter_by(name=name).scalar()
    return initial_sync.synchronise.apply(args=(name, generation), throw=False).result


@pytest.mark.parametrize(
    ("driver", "driver_info", "failure", "words"),
    [
        ("fake", {"unreachable": True}, "unreachable", "unreachable; change its driver_info"),
        ("fake", {"delay": {"probe": 30}}, "unreachable", "did not answer within 1.5 s; check that it runs"),
        ("fake", {"delay": {"sync_identity": 30}}, "timeout", "identity took longer than 1.5 s; look whether"),
        ("fake", {"fail": ["sync_identity"]}, "refused", "sync_identity is set to fail"),
        ("fake", {"central_reads": True, "fail": ["read_centre"]}, "centre", "could not be read from the centre"),
        ("fake", {"delay": "long"}, "configuration", "correct it in the inventory file"),
        ("ghost", {}, "configuration", "is not installed; there are: fake, sql"),
        ("sql", {"database_url": "nonsense"}, "configuration", "must be a database URL"),
        ("sql", {"database_url": "sqlite:///s.db", "credentials": "nobody"}, "credentials", "credentials file"),
        ("sql", {"database_url": "postgresql+psycopg://127.0.0.1:1/x"}, "unreachable", "127.0.0.1:1"),
    ],
)
def test_each_kind_of_trouble_is_told_on_the_row_in_words(
    fleet: Any, driver: str, driver_info: dict[str, Any], failure: str, words: str, *, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a centre with rows, one subcloud in trouble, and one without
    seed(fleet)
    bad = fleet.add_subcloud("bad", driver=driver, **driver_info).name
    good = fleet.add_subcloud("good").name

    # When both are synchronised
    synchronise(bad)
    assert synchronise(good)["outcome"] == "completed"

    # Then the row of the first says what is wrong
    row = fleet.subcloud(bad)
    assert (row.failure, row.enabled) == (failure, False)
    assert words in row.last_error

    # And the log has it without a traceback: it is no fault of the program
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("made_before", "words"),
    [
        ("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)", "table users lacks"),
        ("CREATE VIEW nobody AS SELECT 1; CREATE UNIQUE INDEX one_user ON users (enabled)", "drop that, or change the"),
    ],
)
def test_tables_of_another_shape_and_rows_that_clash_are_told_and_nothing_is_written(
    fleet: Any, made_before: str, words: str
) -> None:
    # Given a subcloud whose database was made by somebody else
    seed(fleet, users=2)
    file = fleet.folder / "subcloud.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        if "one_user" in made_before:
            users = CreateTable(metadata.tables["users"]).compile(dialect=sqlite.dialect())
            database.execute(str(users))
        database.executescript(made_before)
        before = list(database.iterdump())

        # When it is synchronised, then the row says what is in the way and what to do, and the database is as it was
        synchronise(fleet.add_subcloud("bad", driver="sql", database_url=f"sqlite:///{file}").name)
        row = fleet.subcloud("bad")
        assert (row.failure, row.step) == ("refused", "identity")
        assert words in row.last_error
        assert list(database.iterdump()) == before


def test_a_login_that_a_subcloud_refuses_is_a_matter_of_credentials(fleet: Any, postgres_url: str) -> None:
    url = make_url(postgres_url).set(username="ghost").render_as_string(hide_password=False)
    assert isinstance(synchronise(fleet.add_subcloud("bad", driver="sql", database_url=url).name), CredentialsRefused)
    row = fleet.subcloud("bad")
    assert (row.failure, row.unreachable) == ("credentials", 0)
    assert "check which credentials driver_info names" in row.last_error


def seed(fleet: Any, users: int = 1) -> None:
    """Give the centre rows, so that the sql driver gets as far as the subcloud."""
    seed_central(settings.current().identity_url, users=users)


def test_an_unknown_subcloud_in_a_message_does_nothing(fleet: Any) -> None:
    assert initial_sync.synchronise.apply(args=("ghost", 1)).get() == {"outcome": "no longer required"}
    with pytest.raises(UnknownSubcloud, match="'ghost'"):
        initial_sync.retry(["ghost"])


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (delete(Subcloud), "deleted"),
        (update(Subcloud).values(generation=9, managed=False), "cancelled"),
        (update(Subcloud).values(generation=9), "cancelled, and requested again"),
        (update(Subcloud).values(claimed_by="other"), "taken over by other"),
    ],
)
def test_a_run_ends_in_the_middle_of_a_step_when_it_is_no_longer_to_go_on(
    fleet: Any, monkeypatch: pytest.MonkeyPatch, change: Any, because: str
) -> None:
    # Given a step that is under way for a long time, in a run that gives a sign of life three times a second
    monkeypatch.setenv("FLEETRING_SYNC_LEASE", "1")
    monkeypatch.setenv("FLEETRING_SYNC_STEP_TIMEOUT", "60")
    settings.current.cache_clear()
    name = fleet.add_subcloud("subcloud-1", delay={"sync_identity": 20}).name

    def interfere() -> None:
        wait_until(lambda: fleet.subcloud(name).step == "identity")
        with app.runtime.database.session() as session:
            session.execute(change)

    meddler = threading.Thread(target=interfere)
    meddler.start()

    # When its subcloud is deleted, cancelled, or taken over, then it ends long before the step would, and says why
    began = time.monotonic()
    assert synchronise(name) == {"outcome": "ended", "because": because}
    assert time.monotonic() - began < 15
    meddler.join()


def test_trouble_at_the_centre_counts_as_no_attempt(fleet: Any) -> None:
    # Given a centre that cannot be read
    name = fleet.add_subcloud("subcloud-1", central_reads=True, fail=["read_centre"]).name

    # When the sync of a subcloud needs it, then the sync is put off, and the subcloud is not blamed
    assert synchronise(name)["outcome"] == "put off"
    row = fleet.subcloud(name)
    assert (row.state, row.attempts, row.failure) == (SyncState.REQUESTED, 0, "centre")
    assert row.next_attempt_at is not None
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).values(next_attempt_at=1.0))
        [ticket] = sync_rows.take_due(session, limit=1, again_after=1, retries=0)
    assert not ticket.retry


def test_a_budget_that_is_used_up_puts_a_sync_off_too(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETRING_CENTRE_RATE", "0.01")
    monkeypatch.setenv("FLEETRING_CENTRE_BURST", "2")  # a sync reads identity, then keys
    monkeypatch.setenv("FLEETRING_CENTRE_TTL", "0")
    monkeypatch.setenv("FLEETRING_SYNC_STEP_TIMEOUT", "30")
    settings.current.cache_clear()
    app.runtime.close()
    assert synchronise(fleet.add_subcloud("first", central_reads=True).name)["outcome"] == "completed"
    assert synchronise(fleet.add_subcloud("second", central_reads=True).name)["outcome"] == "put off"
    assert str(CentreBusy("identity", 1.0))[:20] in (fleet.subcloud("second").last_error or "")


def test_while_calls_hang_for_ever_in_a_process_it_leaves_subclouds_that_failed_before_alone(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that puts up with one call that hangs, and has it
    monkeypatch.setattr(step_thread, "HANGING_AT_MOST", 1)
    monkeypatch.setattr(StepThread, "_left_behind", weakref.WeakSet())
    released = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(FakeSubcloudDriver, "sync_identity", lambda _driver: released.wait(60))
        assert isinstance(synchronise(fleet.add_subcloud("hanging").name), StepOverdue)
    assert StepThread.hanging() == 1

    # When that subcloud is due again, then the row says that this is the worker's trouble, and it counts as no attempt
    def again() -> Any:
        with app.runtime.database.session() as session:
            session.execute(update(Subcloud).where(Subcloud.name == "hanging").values(state=SyncState.REQUESTED))
        return initial_sync.synchronise.apply(args=("hanging", 1), throw=False).result["outcome"]

    assert again() == "put off"
    row = fleet.subcloud("hanging")
    assert (row.state, row.attempts, row.failure) == (SyncState.REQUESTED, 1, "worker-stuck")
    assert "restart the worker" in row.last_error

    # When a new subcloud comes, then it is synchronised
    assert synchronise(fleet.add_subcloud("new").name)["outcome"] == "completed"

    # When the call ends after all, then the first one is, too
    released.set()
    wait_until(lambda: not StepThread.hanging())
    assert again() == "completed"


def test_a_step_that_was_left_behind_changes_nothing_when_it_wakes_up(fleet: Any) -> None:
    # Given a call that outlives its time
    thread = StepThread("test")
    woken, seen = threading.Event(), []

    def hang() -> None:
        woken.wait(30)
        try:
            thread.check()
        except Abandoned as error:
            seen.append(error)
            raise

    with pytest.raises(TimeoutError):
        thread.call(hang, timeout=0.1, overdue=TimeoutError(), every=1.0, sign=lambda: None)
    thread.end()

    # When it goes on, then its guard stops it, and its thread ends
    woken.set()
    thread._thread.join(30)
    assert len(seen) == 1
    assert not thread._thread.is_alive()
