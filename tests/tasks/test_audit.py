from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text, update

from tasks import app, audit, initial_sync, keys, settings
from tasks.cli import fleet as command_line
from tasks.drivers import Centre, DriverUnreachable
from tasks.drivers.central_rows import central_digest
from tasks.drivers.identity_seed import seed_central
from tasks.errors import KeysNotEverywhere
from tasks.inventory import Audit, AuditState, Subcloud, audit_rows


class Cloud:
    """A subcloud with a database of its own that follows the centre."""

    def __init__(self, fleet: Any, name: str) -> None:
        self.name = name
        self.url = f"sqlite:///{fleet.folder}/{name}.db"
        fleet.add_subcloud(name, driver="sql", database_url=self.url)
        initial_sync.update_state(name, managed=True, online=True)
        initial_sync.synchronise.apply(args=(name, fleet.subcloud(name).generation), throw=True)

    def execute(self, statement: str) -> None:
        """Change the subcloud's rows behind everybody's back."""
        engine = create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()

    @property
    def digest(self) -> Any:
        """What its rows are."""
        return central_digest(Centre(self.url))

    @property
    def found(self) -> Audit:
        """What was last found of it."""
        with app.runtime.database.reading() as session:
            return {subcloud.name: found for subcloud, found in audit_rows.list_(session)}[self.name]


def compare(cloud: Cloud) -> Any:
    """Run the message of an audit in this process."""
    return audit.compare.apply(args=(cloud.name,), throw=True).get()


def take_due(interval: float = 3600.0) -> list[str]:
    """Take what is due."""
    with app.runtime.database.session() as session:
        return audit_rows.take_due(session, limit=100, interval=interval)


@pytest.fixture
def centre(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A centre with rows, which is read each time."""
    url = f"sqlite:///{fleet.folder}/centre.db"
    monkeypatch.setenv("FLEETRING_IDENTITY_URL", url)
    monkeypatch.setenv("FLEETRING_CENTRE_TTL", "0")
    settings.current.cache_clear()
    seed_central(url, users=5)
    return url


@pytest.fixture
def cloud(fleet: Any, centre: str) -> Cloud:
    """A subcloud that follows the centre, and is known to the audits."""
    cloud = Cloud(fleet, "subcloud-1")
    audit.request()
    return cloud


def test_an_audit_repairs_the_tables_that_differ_and_no_others(centre: str, cloud: Cloud) -> None:
    # Given a subcloud that lost a user and whose own rows stand in a table of somebody else
    cloud.execute("DELETE FROM users WHERE name = 'user-00001'")
    # When it is audited
    outcome = compare(cloud)
    # Then just that user was written, and it is known which table had differed
    assert outcome == {"outcome": "in-sync", "differing": ["users"], "repaired_rows": 1}
    assert cloud.digest == central_digest(Centre(centre))
    assert (cloud.found.state, cloud.found.tables) == (AuditState.IN_SYNC, "users")


def test_what_is_found_is_written_only_when_it_is_news(cloud: Cloud) -> None:
    # Given a subcloud that was found in sync
    compare(cloud)
    first = cloud.found.audited_at
    # When it is again, then nothing is written
    compare(cloud)
    assert cloud.found.audited_at == first
    # When nobody has looked for an hour, then it is
    with app.runtime.database.session() as session:
        session.execute(update(Audit).values(audited_at=1.0))
    compare(cloud)
    assert cloud.found.audited_at not in (1.0, None)


def test_a_subcloud_that_does_not_answer_is_recorded_in_words_and_audited_again_later(cloud: Cloud) -> None:
    # Given a subcloud whose database is gone
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).values(driver_info={"database_url": "sqlite:////nowhere/x.db"}))
    # When it is audited, then the reason is on record
    with pytest.raises(DriverUnreachable):
        compare(cloud)
    assert cloud.found.state is AuditState.FAILED
    assert "there is no such file" in str(cloud.found.error)
    # When it is back, then so is its state
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).values(driver_info={"database_url": cloud.url}))
    compare(cloud)
    assert (cloud.found.state, cloud.found.error) == (AuditState.IN_SYNC, None)


def test_a_subcloud_that_somebody_works_on_is_left_out(cloud: Cloud) -> None:
    with app.runtime.locks.acquire(f"subcloud:{cloud.name}", purpose="initial sync"):
        assert compare(cloud) == {"outcome": "left out, somebody works on it"}


def test_only_subclouds_that_follow_the_centre_are_audited(fleet: Any, cloud: Cloud) -> None:
    # Given one that is offline
    initial_sync.update_state(cloud.name, online=False)
    # Then a message that was under way does nothing, and no other is sent
    assert compare(cloud) == {"outcome": "no longer required"}
    assert audit.request() == 0


def test_each_due_audit_is_handed_out_once_and_again_an_interval_later(fleet: Any, cloud: Cloud) -> None:
    with app.runtime.database.session() as session:
        audit_rows.expedite(session)
    assert (take_due(), take_due()) == ([cloud.name], [])
    with app.runtime.database.session() as session:
        session.execute(update(Audit).values(next_at=1.0))
    assert take_due() == [cloud.name]


def test_first_audits_are_spread_over_the_interval(fleet: Any, centre: str) -> None:
    # Given subclouds that nobody has audited
    for number in range(3):
        fleet.add_subcloud(f"fake-{number}")
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).values(managed=True, online=True, enabled=True, state="completed"))
    # When audits are dispatched, then none is due at once, and each has a moment of its own
    assert take_due(interval=3600) == []
    with app.runtime.database.reading() as session:
        assert len({found.next_at for _, found in audit_rows.list_(session)}) == 3


def test_an_audit_goes_behind_all_other_work_of_its_queue_and_waits_there_once(
    cloud: Cloud, queued: Callable[[], dict[str, int]]
) -> None:
    # Given the audit that was requested, when it is requested again, then still one message waits beside the sync's
    audit.request()
    route = app.amqp.router.route({}, audit.compare.name, args=(cloud.name,), kwargs={})
    assert queued() == {route["queue"].name: 2}


def test_keys_are_rotated_in_stages(fleet: Any, centre: str, cloud: Cloud) -> None:
    # Given a subcloud with the centre's keys, of which one is staged
    compare(cloud)
    before = keys.list_()
    assert [(key.index, key.role) for key in before] == [(2, "primary"), (1, "secondary"), (0, "staged")]

    # When they are rotated, then the staged one is primary, another is staged, and the oldest is gone
    rotated = keys.rotate()
    assert [(key.index, key.role) for key in rotated] == [(3, "primary"), (2, "secondary"), (0, "staged")]
    assert rotated[0].created_at == before[2].created_at

    # When they are rotated again before the subcloud has the new one, then that is refused
    with pytest.raises(KeysNotEverywhere, match=r"1 subclouds were not seen with the present keys \(subcloud-1\)"):
        keys.rotate()
    assert keys.list_() == rotated

    # When an audit has brought it there, then not any more
    assert compare(cloud)["differing"] == ["fernet_keys"]
    assert keys.rotate()[0].index == 4


def test_a_centre_without_a_staged_key_gets_one_first(fleet: Any, centre: str) -> None:
    seed_central(centre, keys=0)
    assert [key.role for key in keys.rotate()] == ["primary", "staged"]
    assert [key.index for key in keys.rotate()] == [2, 1, 0]


def test_the_command_line_shows_audits_and_keys_and_never_a_key(fleet: Any, centre: str, cloud: Cloud) -> None:
    compare(cloud)
    run = CliRunner().invoke
    assert '"state": "in-sync"' in run(command_line, ["audits", "list", "--json"]).output
    assert run(command_line, ["audits", "run", "--all"]).output == "1 audits requested\n"
    assert run(command_line, ["audits", "run"]).exit_code == 2
    assert "unknown subcloud" in run(command_line, ["audits", "run", "ghost"]).output
    shown = run(command_line, ["keys", "list", "--json"]).output + run(command_line, ["keys", "rotate"]).output
    with create_engine(centre).connect() as connection:
        bodies = connection.execute(text("SELECT body FROM fernet_keys")).scalars().all()
    assert "staged" in shown
    assert not any(body in shown for body in bodies)
    refused = run(command_line, ["keys", "rotate"])
    assert (refused.exit_code, "not seen with the present keys" in refused.output) == (2, True)
