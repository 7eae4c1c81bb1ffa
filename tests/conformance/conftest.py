"""The stores: the whole suite's Valkey and PostgreSQL, SQLite, and what else runs on this machine."""

import itertools
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis
from sqlalchemy import make_url

from locking import LockManager

_numbers = itertools.count()
RUN = f"Run{uuid4().hex[:8]}"  # in every name that this run makes on a server that others use, too


@pytest.fixture(scope="session")
def postgresql(postgres: str) -> str:
    url = make_url(postgres).set(drivername="postgresql+psycopg")
    return url.update_query_dict({"options": "-c synchronous_commit=off"}).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """The Redis that may run on this machine; what the tests put there is deleted."""
    url = "redis://127.0.0.1:6379/9"
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 6379)):
            pytest.skip("no server on port 6379 of this machine")
    yield url
    with Redis.from_url(url) as client:
        for key in client.scan_iter(match=f"{{{RUN}_*}}:*"):
            client.delete(key)


@pytest.fixture(params=["valkey", "postgresql", "sqlite", "mariadb", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/locks.db"
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def namespace() -> str:
    """What no other test uses, of no other run."""
    return f"{RUN}_{next(_numbers)}"


@pytest.fixture
def manager(url: str, namespace: str) -> Iterator[Callable[..., LockManager]]:
    """Makes managers, each an owner of its own, in one namespace."""
    made: list[LockManager] = []

    def make(**options: object) -> LockManager:
        made.append(LockManager.from_url(url, namespace=namespace, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def locks(manager: Callable[..., LockManager]) -> LockManager:
    return manager()


@pytest.fixture
def other(manager: Callable[..., LockManager]) -> LockManager:
    return manager()
