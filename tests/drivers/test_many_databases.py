import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from tasks.drivers import Centre, DriverUnreachable
from tasks.drivers.identity_seed import seed_central
from tasks.drivers.sql import SqlSubcloudDriver

DATABASES = 50


@pytest.fixture
def server(postgres: str) -> Iterator[Engine]:
    """The server that all databases are in."""
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT", pool_size=4)
    yield engine
    engine.dispose()


@pytest.fixture
def databases(server: Engine) -> list[str]:
    """The URLs of many empty databases, which go with the server."""
    names = [f"subcloud_{number:02d}" for number in range(DATABASES)]
    with server.connect() as connection:
        for name in names:
            connection.execute(text(f"CREATE DATABASE {name} STRATEGY wal_log"))
    return [make_url(server.url).set(database=name).render_as_string(hide_password=False) for name in names]


class Saw:
    """A guard that cuts every connection to a database, once: in one of two steps, when all rows are written."""

    def __init__(self, server: Engine, url: str) -> None:
        self._server = server
        self._database = make_url(url).database
        self._cut_at = random.Random(url).choice([1, 2])  # noqa: S311 - no secret hangs on it
        self._asked = 0

    def __call__(self) -> None:
        self._asked += 1
        if self._asked == 2 * self._cut_at:
            cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
            with self._server.connect() as connection:
                connection.execute(cut, {"name": self._database})


def test_fifty_databases_that_are_cut_off_in_the_middle_have_the_old_rows_or_the_new_ones(
    server: Engine, databases: list[str], postgres_url: str
) -> None:
    # Given a centre, many subclouds that follow it, and then a centre with other rows
    centre = Centre(postgres_url, ttl=600)
    seed_central(centre.url, seed=1)

    def synchronise(url: str, guard: Saw | None = None) -> dict[str, str]:
        with SqlSubcloudDriver(
            url[-11:], {"database_url": url}, centre, **({"guard": guard} if guard else {})
        ) as driver:
            driver.sync_identity()
            driver.distribute_keys()
            return driver.digest()

    with ThreadPoolExecutor(4) as pool:
        old = SqlSubcloudDriver.central_digest(centre)
        assert all(digest == old for digest in pool.map(synchronise, databases))
        seed_central(centre.url, users=60, seed=2)
        centre.forget()
        new = SqlSubcloudDriver.central_digest(centre)

        # When each is cut off once in the middle of a step
        def cut_off(url: str) -> dict[str, str]:
            with pytest.raises(DriverUnreachable):
                synchronise(url, Saw(server, url))
            with SqlSubcloudDriver(url[-11:], {"database_url": url}, centre) as driver:
                return driver.digest()

        # Then its users, groups, projects, roles and assignments are all old or all new, and so are its keys
        steps = [{"fernet_keys"}, old.keys() - {"fernet_keys"}]
        for digest in pool.map(cut_off, databases):
            for tables in steps:
                seen = {table: digest[table] for table in tables}
                assert seen in ({table: old[table] for table in tables}, {table: new[table] for table in tables})

        # And at the next attempt all are identical to the centre
        assert all(digest == new for digest in pool.map(synchronise, databases))
