import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, delete, insert, inspect, make_url, select, text, update

from tasks.drivers import (
    Centre,
    Credentials,
    CredentialsRefused,
    DriverRejected,
    DriverTimeout,
    DriverUnreachable,
    InvalidDriverInfo,
    SyncReport,
)
from tasks.drivers.identity_seed import seed_central
from tasks.drivers.identity_tables import audit, control, groups, metadata, projects, users
from tasks.drivers.replication import keyed, read, replicate
from tasks.drivers.sql import SqlSubcloudDriver


@pytest.fixture
def second_postgres_url(postgres_url: str) -> Iterator[str]:
    """Another empty database on the same server."""
    url = make_url(postgres_url)
    other = url.set(database=f"{url.database}_2")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {other.database}"))
    yield other.render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {other.database} WITH (FORCE)"))
    server.dispose()


@pytest.fixture(params=["sqlite", "postgresql", "postgresql to sqlite"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """The centre's database with rows, and an empty one of a subcloud."""
    centre, subcloud = f"sqlite:///{tmp_path / 'centre.db'}", f"sqlite:///{tmp_path / 'subcloud.db'}"
    if request.param != "sqlite":
        centre = request.getfixturevalue("postgres_url")
    if request.param == "postgresql":
        subcloud = request.getfixturevalue("second_postgres_url")
    seed_central(centre)
    return centre, subcloud


@pytest.fixture
def driver(urls: tuple[str, str]) -> Iterator[SqlSubcloudDriver]:
    with SqlSubcloudDriver("subcloud-1", {"database_url": urls[1]}, Centre(urls[0])) as driver:
        yield driver


@pytest.fixture
def centre(urls: tuple[str, str]) -> Iterator[Engine]:
    engine = create_engine(urls[0])
    yield engine
    engine.dispose()


@pytest.fixture
def subcloud(urls: tuple[str, str]) -> Iterator[Engine]:
    engine = create_engine(urls[1])
    yield engine
    engine.dispose()


def _rows(engine: Engine, table: Any) -> list[Any]:
    with engine.connect() as connection:
        return sorted(connection.execute(select(table)).all())


def test_an_empty_subcloud_gets_every_row_with_its_id_and_hash(
    driver: SqlSubcloudDriver, urls: tuple[str, str], centre: Engine, subcloud: Engine
) -> None:
    # When the steps are done
    report = driver.sync_identity()
    driver.distribute_keys()
    # Then the subcloud's rows are the centre's, to the last hash
    assert report.inserted == {"users": 50, "groups": 5, "projects": 10, "roles": 4, "assignments": 50}
    assert _rows(subcloud, users) == _rows(centre, users)
    assert all(user.password_hash.startswith("$2b$12$") for user in _rows(subcloud, users))
    assert driver.digest() == driver.central_digest(Centre(urls[0]))


def test_a_second_run_changes_nothing(driver: SqlSubcloudDriver) -> None:
    for _ in range(2):
        identity, keys = driver.sync_identity(), driver.distribute_keys()
        driver.reset_audit()
        driver.enable()
    assert (identity.total, keys.total) == (0, 0)
    assert SyncReport(inserted={"users": 2}, deleted={"users": 1}).total == 3


def test_only_what_differs_is_written(driver: SqlSubcloudDriver, urls: tuple[str, str], centre: Engine) -> None:
    driver.sync_identity()
    # Given a user changed, one gone and one new at the centre
    first, second, *_ = _rows(centre, users)
    with centre.begin() as connection:
        connection.execute(update(users).where(users.c.id == first.id).values(extra="{}"))
        connection.execute(delete(users).where(users.c.id == second.id))
        connection.execute(insert(users).values({**second._asdict(), "id": "new", "name": "new"}))
    # When it is synchronised
    report = driver.sync_identity()
    # Then just these three are written
    assert (report.inserted["users"], report.updated["users"], report.deleted["users"]) == (1, 1, 1)
    assert report.total == 3
    assert driver.digest()["users"] == driver.central_digest(Centre(urls[0]))["users"]


def test_a_user_that_the_subcloud_made_under_the_same_name_gives_way(
    driver: SqlSubcloudDriver, subcloud: Engine
) -> None:
    # Given a subcloud that was installed with a user of its own, whose name the centre uses as well
    metadata.create_all(subcloud)
    own = {"id": "own", "name": "user-00000", "domain_id": "default", "enabled": True, "extra": "{}"}
    with subcloud.begin() as connection:
        connection.execute(insert(users).values(own))
    report = driver.sync_identity()
    assert (report.inserted["users"], report.deleted["users"]) == (50, 1)


def test_two_projects_may_exchange_their_names(
    driver: SqlSubcloudDriver, urls: tuple[str, str], centre: Engine
) -> None:
    driver.sync_identity()
    first, second, *_ = _rows(centre, projects)
    with centre.begin() as connection:
        for project, name in ((first, "aside"), (second, first.name), (first, second.name)):
            connection.execute(update(projects).where(projects.c.id == project.id).values(name=name))
    report = driver.sync_identity()
    assert (report.updated["projects"], report.total) == (2, 2)
    assert driver.digest()["projects"] == driver.central_digest(Centre(urls[0]))["projects"]


@pytest.mark.parametrize("empty", ["users", "projects", "roles"])
def test_a_centre_that_lost_its_rows_empties_no_subcloud(
    driver: SqlSubcloudDriver, centre: Engine, subcloud: Engine, empty: str
) -> None:
    driver.sync_identity()
    before = driver.digest()
    with centre.begin() as connection:
        connection.execute(delete(metadata.tables[empty]))
    with pytest.raises(DriverRejected, match=f"the centre: it has no {empty}, so nothing was replicated"):
        driver.sync_identity()
    assert driver.digest() == before


def test_a_centre_without_groups_is_a_legal_one(driver: SqlSubcloudDriver, centre: Engine, subcloud: Engine) -> None:
    driver.sync_identity()
    with centre.begin() as connection:
        connection.execute(delete(groups))
    assert driver.sync_identity().deleted["groups"] == 5
    assert _rows(subcloud, groups) == []


def test_a_centre_without_keys_is_a_failure(driver: SqlSubcloudDriver, centre: Engine) -> None:
    with centre.begin() as connection:
        connection.execute(text("DELETE FROM fernet_keys"))
    with pytest.raises(DriverRejected, match="no fernet_keys"):
        driver.distribute_keys()


def test_reset_forgets_what_audits_found_and_enable_stays(driver: SqlSubcloudDriver, subcloud: Engine) -> None:
    driver.reset_audit()
    with subcloud.begin() as connection:
        connection.execute(update(audit).values(last_audit_at=1.0, findings=7))
    driver.reset_audit()
    driver.enable()
    assert {(row.last_audit_at, row.findings) for row in _rows(subcloud, audit)} == {(None, 0)}
    assert len(_rows(subcloud, audit)) == 6
    assert [row.enabled for row in _rows(subcloud, control)] == [True]


def test_nothing_is_written_once_the_guard_says_no(urls: tuple[str, str], subcloud: Engine) -> None:
    class LockLost(Exception):
        pass

    # Given a lock that is lost while the rows are written
    asked = iter(range(100))

    def guard() -> None:
        if next(asked) == 1:
            raise LockLost

    driver = SqlSubcloudDriver("subcloud-1", {"database_url": urls[1]}, Centre(urls[0]), guard=guard)
    with driver, pytest.raises(LockLost):
        driver.sync_identity()
    # Then nothing is committed
    assert inspect(subcloud).get_table_names() == []


def test_only_the_named_tables_are_repaired(driver: SqlSubcloudDriver, subcloud: Engine) -> None:
    # Given a subcloud that lost users and groups
    driver.sync_identity()
    with subcloud.begin() as connection:
        connection.execute(delete(users))
        connection.execute(delete(groups))
    # When the users are repaired
    report = driver.repair({"users"})
    # Then they are there again, and the groups are not
    assert (dict(report.inserted), _rows(subcloud, groups)) == ({"users": 50}, [])


def test_a_table_of_another_shape_is_refused_before_anything_is_written(
    driver: SqlSubcloudDriver, subcloud: Engine
) -> None:
    # Given a database whose users are somebody else's
    with subcloud.begin() as connection:
        connection.execute(text("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, mail TEXT)"))
    # Then it is told what is missing, and no table was added
    with pytest.raises(DriverRejected, match=r"subcloud-1: table users lacks default_project_id, domain_id, enabled, "):
        driver.sync_identity()
    assert inspect(subcloud).get_table_names() == ["users"]
    with pytest.raises(DriverRejected, match="table users lacks"):
        driver.digest()


def test_the_centre_is_read_once_for_many_subclouds(tmp_path: Path) -> None:
    # Given a centre whose rows are used for a while
    centre = Centre(f"sqlite:///{tmp_path / 'centre.db'}", ttl=60)
    seed_central(centre.url, users=3)

    def synchronise(name: str) -> SqlSubcloudDriver:
        driver = SqlSubcloudDriver(name, {"database_url": f"sqlite:///{tmp_path}/{name}.db"}, centre)
        with driver:
            driver.sync_identity()
        return driver

    # When it changes between two subclouds, then both get the same rows
    digest = synchronise("subcloud-1").digest()
    seed_central(centre.url, users=4)
    assert synchronise("subcloud-2").digest() == digest

    # When whoever changed it says so, then the next one gets the new ones
    centre.forget()
    assert synchronise("subcloud-3").digest() != digest


def test_a_centre_that_is_not_there_is_told_apart_from_the_subcloud(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path / 'missing.db'}"
    driver = SqlSubcloudDriver("subcloud-1", {"database_url": f"sqlite:///{tmp_path}/s.db"}, Centre(missing))
    with driver, pytest.raises(DriverUnreachable, match=r"the centre .*missing.db\): there is no such file"):
        driver.sync_identity()
    assert not (tmp_path / "missing.db").exists()


def test_a_subcloud_that_refuses_is_named_without_its_password(tmp_path: Path) -> None:
    centre = f"sqlite:///{tmp_path / 'centre.db'}"
    seed_central(centre)
    (tmp_path / "credentials.toml").write_text('[site]\nusername = "keystone"\npassword = "geheim"\n')
    (tmp_path / "credentials.toml").chmod(0o600)
    info = {"database_url": "postgresql+psycopg://127.0.0.1:1/keystone", "credentials": "site"}
    driver = SqlSubcloudDriver("subcloud-1", info, Centre(centre), Credentials.load(tmp_path / "credentials.toml"))
    with driver, pytest.raises(DriverUnreachable, match=r"subcloud-1 \(.*keystone:\*\*\*@127.0.0.1:1") as caught:
        driver.sync_identity()
    assert "geheim" not in str(caught.value) + repr(caught.value)


def test_a_probe_asks_once_and_changes_nothing(driver: SqlSubcloudDriver, urls: tuple[str, str]) -> None:
    driver.probe()
    if urls[1].startswith("sqlite"):
        assert not Path(urls[1].removeprefix("sqlite:///")).exists()
    driver.sync_identity()
    driver.probe()


@pytest.mark.parametrize("url", ["postgresql+psycopg://127.0.0.1:1/x", "sqlite:////no/such/folder/s.db"])
def test_a_probe_finds_out_that_nobody_is_there(url: str) -> None:
    with SqlSubcloudDriver("s", {"database_url": url}, Centre("")) as driver, pytest.raises(DriverUnreachable):
        driver.probe()


def test_a_login_that_is_refused_and_a_database_that_is_missing_are_no_dead_subclouds(postgres_url: str) -> None:
    # Given a server that answers, and that knows neither the user nor the database
    url = make_url(postgres_url)
    for wrong, error, remedy in (
        (url.set(username="ghost"), CredentialsRefused, "check which credentials driver_info names"),
        (url.set(database="ghost"), DriverRejected, "make the database there, or correct database_url"),
    ):
        info = {"database_url": wrong.render_as_string(hide_password=False)}
        # Then both are told apart from one where nobody answers, with what to do
        with SqlSubcloudDriver("s", info, Centre("")) as driver, pytest.raises(error, match=remedy):
            driver.probe()


def test_a_subcloud_whose_table_is_locked_is_given_up_in_time(postgres_url: str, tmp_path: Path) -> None:
    # Given a subcloud where somebody holds a table
    centre = f"sqlite:///{tmp_path / 'centre.db'}"
    seed_central(centre)
    engine = create_engine(postgres_url)
    metadata.create_all(engine)
    info = {"database_url": postgres_url, "statement_timeout": 0.3}
    with engine.begin() as holder, SqlSubcloudDriver("subcloud-1", info, Centre(centre)) as driver:
        holder.execute(text("LOCK TABLE users"))
        began = time.monotonic()
        # Then the step fails when the statement's time is over
        with pytest.raises(DriverTimeout, match="does not answer in time"):
            driver.sync_identity()
        assert time.monotonic() - began < 3.0
    engine.dispose()


def test_a_central_database_without_the_tables_is_told(tmp_path: Path) -> None:
    (tmp_path / "centre.db").touch()
    info = {"database_url": f"sqlite:///{tmp_path / 'subcloud.db'}"}
    driver = SqlSubcloudDriver("subcloud-1", info, Centre(f"sqlite:///{tmp_path / 'centre.db'}"))
    with driver, pytest.raises(DriverRejected, match=r"the centre.*no such table: users"):
        driver.sync_identity()


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({}, "database_url: Field required"),
        ({"database_url": "postgresql://a:geheim@host/x"}, "must hold no password"),
        ({"database_url": "mysql+pymysql://host/x"}, "must be a database of SQLite or PostgreSQL"),
        ({"database_url": "nonsense"}, "must be a database URL"),
    ],
)
def test_a_wrong_driver_info_is_refused_before_anything_connects(info: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidDriverInfo, match=reason) as caught:
        SqlSubcloudDriver("subcloud-1", info, Centre("sqlite:///centre.db"))
    assert "geheim" not in str(caught.value)


def test_a_reader_sees_one_picture_while_the_centre_changes(urls: tuple[str, str], tmp_path: Path) -> None:
    # Given a centre whose users and assignments are replaced together, again and again
    subcloud = f"sqlite:///{tmp_path / 'other.db'}"
    stop = threading.Event()

    def change() -> None:
        seed = 0
        while not stop.is_set():
            seed += 1
            seed_central(urls[0], users=3, seed=seed % 2)

    changing = threading.Thread(target=change)
    changing.start()
    # When a subcloud is synchronised meanwhile
    try:
        with SqlSubcloudDriver("subcloud-1", {"database_url": subcloud}, Centre(urls[0])) as driver:
            for _ in range(5):
                driver.sync_identity()
                engine = create_engine(subcloud)
                with engine.connect() as connection:
                    dangling = text("SELECT count(*) FROM assignments WHERE actor_id NOT IN (SELECT id FROM users)")
                    # Then no assignment refers to a user of another moment
                    assert connection.execute(dangling).scalar() == 0
                engine.dispose()
    finally:
        stop.set()
        changing.join()


_ROW = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcd"),
        "name": st.sampled_from(["x", "y", "z", "ö"]),
        "domain_id": st.sampled_from(["d", "e"]),
        "description": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
    }
)
_TABLE = st.lists(_ROW, max_size=4, unique_by=(lambda row: row["id"], lambda row: (row["domain_id"], row["name"])))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(present=_TABLE, wanted=_TABLE)
def test_replicating_makes_any_table_any_other(present: list[dict[str, str]], wanted: list[dict[str, str]]) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        replicate(connection, groups, keyed(groups, present))
        changes = replicate(connection, groups, keyed(groups, wanted))
        assert read(connection, groups) == keyed(groups, wanted)
    engine.dispose()
    assert len(present) - changes.deleted + changes.inserted == len(wanted)
    assert changes.updated == sum(row not in present and row["id"] in {old["id"] for old in present} for row in wanted)
