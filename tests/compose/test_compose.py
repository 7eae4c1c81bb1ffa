"""No container engine runs here, so the file is checked, and every command in it is run as a local process."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tasks import app
from tasks.settings import ENV_PREFIX, Settings
from tests.processes import REPOSITORY, wait_until

COMPOSE = yaml.safe_load((REPOSITORY / "compose/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "fleetring"}


def test_every_process_of_a_fleet_is_there() -> None:
    assert set(SERVICES) == {"valkey", "postgres", "migrate", "worker", "initial-sync-worker", "beat", "flower"}
    assert SERVICES["beat"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", OURS)
def test_every_setting_in_the_file_is_one_that_fleetring_knows_and_accepts(
    name: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    # Given the settings of a service, with compose's variables filled in
    given = {key: _filled_in(value) for key, value in OURS[name]["environment"].items()}
    assert all(key.startswith(ENV_PREFIX) for key in given)

    # When they are read, then each is accepted
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    settings = Settings()  # type: ignore[call-arg]
    assert settings.broker_url == "redis://valkey:6379/0"
    assert settings.database_url == "postgresql+psycopg://fleetring:pw@postgres:5432/fleetring"


def test_valkey_keeps_an_append_only_file_and_evicts_nothing() -> None:
    command = " ".join(SERVICES["valkey"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_only_flower_is_published_and_only_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5555:5555"]


def test_the_file_holds_no_password() -> None:
    text = (REPOSITORY / "compose/compose.yaml").read_text()
    assert set(re.findall(r"PASSWORD[}:\"' ]*[^\n]*?\$\{(\w+)", text)) == {"POSTGRES_PASSWORD"}
    assert not re.search(r"://\w+:[^$@]+@", text)


def test_the_image_holds_everything_that_the_package_is_built_from() -> None:
    dockerfile = (REPOSITORY / "compose/Dockerfile").read_text()
    copied = {word for line in dockerfile.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]}
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "examples"} <= copied
    assert {"tasks", "locking", "partitioning", "beat_schedule.py", "flowerconfig.py"} <= copied
    assert all((REPOSITORY / name).exists() for name in copied)


@pytest.fixture
def run_service(
    valkey_url: str, postgres_url: str, tmp_path: Path
) -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    """Starts a service's own command against the embedded servers."""
    started: list[subprocess.Popen[bytes]] = []

    def run(name: str) -> subprocess.Popen[bytes]:
        environment = {key: _filled_in(value) for key, value in OURS[name]["environment"].items()}
        environment |= {"FLEETRING_BROKER_URL": valkey_url, "FLEETRING_DATABASE_URL": postgres_url}
        environment |= {"FLEETRING_SLOTS": "2"}
        program, *arguments = [argument.replace("=0.0.0.0", "=127.0.0.1") for argument in OURS[name]["command"]]
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        # What a container of its own gives a service: a host name, and a port that nobody else has.
        command += {"flower": ["--port=0"]}.get(name, [f"--hostname={name}@test"] if "worker" in name else [])
        with (tmp_path / f"{name}.log").open("wb") as log:
            popen = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **environment}, stdout=log, stderr=log)
        started.append(popen)
        return popen

    yield run
    for popen in started:
        popen.send_signal(signal.SIGTERM)
    for popen in started:
        popen.wait(30)


@pytest.mark.system
def test_every_command_in_the_file_runs(
    run_service: Callable[[str], "subprocess.Popen[bytes]"], valkey_url: str, tmp_path: Path
) -> None:
    # Given the migration, which ends well, also a second time
    assert run_service("migrate").wait(60) == 0
    assert run_service("migrate").wait(60) == 0

    # When every other service is started
    running = {name: run_service(name) for name in OURS if name != "migrate"}

    # Then each does its part: the workers consume their queues, the beat leads, Flower listens
    with redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        wait_until(lambda: client.exists("redbeat::lock"), 60)
    wait_until(lambda: "Visit me" in _log(tmp_path, "flower"), 60)
    wait_until(lambda: len(_consumed()) == 2, 60)
    assert _consumed()["worker@test"] == {"actions", "periodic", "periodic-external"}
    assert _consumed()["initial-sync-worker@test"] == {f"initial-sync.{number:03}" for number in range(64)}
    assert all(popen.poll() is None for popen in running.values()), {n: _log(tmp_path, n)[-2000:] for n in running}


def _consumed() -> dict[str, set[str]]:
    """Which queues each worker that answers consumes, beside the one of its own."""
    replies = app.control.inspect(timeout=1.0).active_queues() or {}
    return {worker: {queue["name"] for queue in queues} - {f"worker:{worker}"} for worker, queues in replies.items()}


def _log(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text(errors="replace")


def _filled_in(value: str) -> str:
    """Do what compose does with ``${NAME:-default}`` and ``${NAME:?message}``."""
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
    return re.sub(r"\$\{\w+:\?[^}]*\}", "pw", filled)


def test_the_readme_command_for_compose_is_the_real_one() -> None:
    command = "docker compose -f compose/compose.yaml up --build"
    assert command in (REPOSITORY / "README.md").read_text()
    assert shlex.split(command)[3] == "compose/compose.yaml"
