import contextlib
import getpass
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from locking import LockLost
from partitioning import PartitionCoordinator
from tasks import app, settings
from tasks.cli import COMMANDS, fleet, sync_watch
from tasks.cli.errors import LOCKED, UNREACHABLE, WRONG_INPUT, explained
from tasks.cli.local_fleet import FolderInUse, LocalFleet
from tasks.inventory import Subcloud, SyncState

FLEET_FILE = """
nodes:
  - name: node-1
    driver: fake
  - name: node-2
    driver: fake
    maintenance: true
subclouds:
  - name: subcloud-1
    driver: fake
"""


@pytest.fixture(autouse=True)
def _own_database(folder: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FLEETRING_DATABASE_URL", f"sqlite:///{folder}/fleet.db")
    settings.current.cache_clear()
    yield
    app.runtime.close()
    settings.current.cache_clear()


def run(*arguments: str) -> Result:
    """Run the command line as a user would."""
    return CliRunner().invoke(fleet, arguments)


@pytest.fixture
def imported(folder: Path) -> None:
    """An inventory of two nodes and a subcloud."""
    (folder / "fleet.yaml").write_text(FLEET_FILE)
    for arguments in (("db", "upgrade"), ("nodes", "import", "fleet.yaml"), ("subclouds", "import", "fleet.yaml")):
        assert run(*arguments).exit_code == 0


@pytest.mark.usefixtures("imported")
def test_imported_nodes_are_listed_as_a_table_and_as_json() -> None:
    table = run("nodes", "list")
    rows = json.loads(run("nodes", "list", "--maintenance", "--json").output)
    assert "node-1" in table.output
    assert [row["name"] for row in rows] == ["node-2"]


@pytest.mark.usefixtures("imported")
def test_a_second_import_of_the_same_file_changes_nothing() -> None:
    assert json.loads(run("nodes", "import", "fleet.yaml", "--json").output) == {"new": 0, "changed": 0, "unchanged": 2}


@pytest.mark.usefixtures("imported")
def test_a_subcloud_that_is_managed_and_online_is_requested() -> None:
    assert "initial sync requested" in run("subclouds", "update", "subcloud-1", "--managed", "--online").output
    [row] = json.loads(run("subclouds", "list", "--state", "requested", "--json").output)
    assert (row["name"], row["managed"], row["online"]) == ("subcloud-1", True, True)


@pytest.mark.usefixtures("imported")
def test_states_of_many_subclouds_change_at_once_and_syncs_are_asked_for_and_called_off() -> None:
    # When a subcloud comes online and is managed, then its sync is requested
    assert "subcloud-1 is managed; 0 initial syncs requested" in run("subclouds", "manage", "subcloud-1").output
    assert json.loads(run("subclouds", "online", "--all", "--json").output) == {"requested": ["subcloud-1"]}

    # When it is asked for again, then it is under way; when it is called off, then it can be asked for anew
    assert json.loads(run("subclouds", "sync", "--all", "--json").output)["under_way"] == 1
    assert json.loads(run("subclouds", "cancel", "subcloud-1", "--json").output) == {"cancelled": 1}
    assert "1 initial syncs requested" in run("subclouds", "sync", "subcloud-1").output

    # When it is out of reach, then asking for it says so and fails
    run("subclouds", "offline", "subcloud-1")
    refused = run("subclouds", "sync", "subcloud-1")
    assert (refused.exit_code, "not managed and online, so left out: subcloud-1" in refused.output) == (1, True)
    assert run("subclouds", "unmanage", "subcloud-1").exit_code == 0

    # And whoever names nothing, both, or a ghost is told so
    for wrong in (["sync"], ["sync", "subcloud-1", "--all"], ["manage", "ghost"], ["retry", "ghost"]):
        assert run("subclouds", *wrong).exit_code == WRONG_INPUT


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(
    ("failure", "said"), [(None, "none runs: is a worker up?"), ("centre", "0 running, 1 put off (centre 1)")]
)
def test_a_watched_sync_that_does_not_run_says_what_it_waits_for(failure: str | None, said: str) -> None:
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).values(state=SyncState.REQUESTED, generation=1, failure=failure))
    assert sync_watch.describe(sync_watch.look({"subcloud-1": 1})) == said


@pytest.mark.usefixtures("imported")
def test_a_watched_sync_ends_with_its_failures_by_cause() -> None:
    # Given a failed sync that was given up, and whose retry fails while it is watched
    with app.runtime.database.session() as session:
        session.execute(update(Subcloud).values(managed=True, online=True, state=SyncState.FAILED, parked_at=1.0))
    [listed] = json.loads(run("subclouds", "list", "--parked", "--json").output)
    assert (listed["name"], listed["alarm"]) == ("subcloud-1", "parked after 0 attempts")

    def fail() -> None:
        with app.runtime.database.session() as session:
            session.execute(update(Subcloud).values(state=SyncState.FAILED, failure="unreachable"))

    def watched(*arguments: str) -> Result:
        timer = threading.Timer(1.5, fail)
        timer.start()
        result = run("subclouds", "retry", "--all", "--watch", *arguments)
        timer.join()
        return result

    # Then the summary tells the cause, and the exit status the failure
    shown, told = watched(), watched("--json")
    assert (shown.exit_code, told.exit_code) == (1, 1)
    assert "unreachable" in shown.output
    facts = json.loads(told.output)
    assert (facts["requested"], facts["failed"], facts["failures"]) == (1, 1, {"unreachable": 1})


@pytest.mark.usefixtures("imported")
def test_locks_are_listed_with_their_holder_and_purpose() -> None:
    with app.runtime.locks.acquire("node:node-1", purpose="replace a disk"):
        [row] = json.loads(run("locks", "list", "--json").output)
        shown = json.loads(run("locks", "show", "node:node-1", "--json").output)
        said = run("locks", "show", "node:node-1").output
    assert (row["name"], row["mode"], row["purpose"]) == ("node:node-1", "exclusive", "replace a disk")
    assert (shown["holders"][0]["purpose"], shown["waiters"]) == ("replace a disk", [])
    assert "held exclusive" in said
    assert "is free" in run("locks", "show", "node:node-1").output


def test_breaking_a_lock_needs_a_reason_and_is_logged_with_who_and_why(caplog: pytest.LogCaptureFixture) -> None:
    # Given a lock that somebody holds
    lock = app.runtime.locks.acquire("node:node-1", purpose="flash")

    # When it is broken, then the reason must be given
    assert run("locks", "break", "node:node-1").exit_code == WRONG_INPUT
    result = run("locks", "break", "node:node-1", "--reason", "host burnt down")

    # Then it is free, and the log says who did it and why
    assert "broken: node:node-1 is held exclusive" in result.output
    assert f"host burnt down ({getpass.getuser()})" in caplog.text
    assert app.runtime.locks.holders("node:node-1") == ()
    with contextlib.suppress(LockLost):
        lock.release()


def test_the_ring_explains_where_a_subcloud_goes() -> None:
    [row] = json.loads(run("ring", "explain", "subcloud-1", "--json").output)
    assert re.fullmatch(r"initial-sync\.\d{3}", row["queue"])


@pytest.fixture
def two_workers(valkey_url: str) -> Iterator[None]:
    """Two members of the group of the workers; one of them has just come."""
    members = [PartitionCoordinator(valkey_url, name, hold_down=60.0) for name in ("old@x", "new@x")]
    for member in members:
        member.start(background=False)
        member.join_group("initial-sync")
    yield
    for member in members:
        member.stop()


@pytest.mark.usefixtures("two_workers")
def test_the_ring_shows_its_workers_and_explains_who_consumes_a_queue() -> None:
    shown = json.loads(run("ring", "show", "--json").output)
    assert shown["epoch"] > 0
    workers = [(row["worker"], row["state"], row["queues"]) for row in shown["workers"]]
    assert workers == [("new@x", "waiting", 0), ("old@x", "active", 64)]
    assert "1 active workers" in run("ring", "show").output
    [row] = json.loads(run("ring", "explain", "subcloud-1", "--json").output)
    assert row["worker"] == "old@x"


@pytest.mark.usefixtures("two_workers")
def test_the_ring_simulates_what_a_join_and_an_end_would_move() -> None:
    # When a worker would join, then only queues that it gets move
    joined = json.loads(run("ring", "simulate", "--add", "third@x", "--json").output)
    assert 0 < len(joined["moves"]) < joined["queues"] == 64
    assert {(move["from"], move["to"]) for move in joined["moves"]} == {("old@x", "third@x")}

    # When the only one would go, then all queues lose their consumer
    assert "64 of 64 queues would move (100%)" in run("ring", "simulate", "--remove", "old@x").output

    # And nothing is simulated for a worker that is none, or for no worker at all
    assert "ghost@x would not be missed: there are old@x" in run("ring", "simulate", "--remove", "ghost@x").output
    assert run("ring", "simulate", "--remove", "ghost@x").exit_code == WRONG_INPUT
    assert run("ring", "simulate").exit_code == WRONG_INPUT


def test_a_ring_without_workers_says_that_nobody_consumes() -> None:
    assert "nobody consumes them" in " ".join(run("ring", "show").output.split())
    [row] = json.loads(run("ring", "explain", "subcloud-1", "--json").output)
    assert row["worker"] is None


def test_a_ring_whose_groups_cannot_be_reached_says_where_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETRING_BROKER_URL", "redis://:s3cret@127.0.0.1:1/0")
    settings.current.cache_clear()
    result = run("ring", "show")
    assert result.exit_code == UNREACHABLE
    assert "127.0.0.1:1" in result.output
    assert "s3cret" not in result.output


def test_the_doctor_says_what_is_missing_and_what_to_do() -> None:
    result = run("doctor", "--json")
    findings = json.loads(result.stdout)
    assert result.exit_code == UNREACHABLE
    assert findings["broker"]["ok"]
    assert findings["locks"]["ok"]
    assert "fleetring db upgrade" in findings["database"]["text"]
    assert "celery -A tasks worker" in findings["workers"]["text"]


def test_a_wrong_inventory_file_is_answered_with_every_mistake_and_its_line(folder: Path) -> None:
    # Given a file with three mistakes
    (folder / "fleet.yaml").write_text(
        "nodes:\n  - name: node-1\n    driver: fake\n  - name: node-1\n    driver: fake\n"
        "  - name: node-2\n    driver: telepathy\n  - name: node-3\n    driver: fake\n    driver_info: {password: x}\n"
    )
    run("db", "upgrade")

    # When it is imported, then each is named, and nothing was imported
    result = run("nodes", "import", "fleet.yaml")
    assert result.exit_code == WRONG_INPUT
    for place in ("fleet.yaml:4", "fleet.yaml:7", "fleet.yaml:10"):
        assert place in result.output
    assert json.loads(run("nodes", "list", "--json").output) == []


@pytest.mark.usefixtures("imported")
def test_unknown_things_are_named() -> None:
    result = run("subclouds", "update", "ghost", "--managed")
    assert result.exit_code == WRONG_INPUT
    assert "unknown subcloud 'ghost'" in result.output


def test_a_database_that_was_never_migrated_says_what_to_run() -> None:
    result = run("nodes", "list")
    assert result.exit_code != 0
    assert "fleetring db upgrade" in result.output
    assert "Traceback" not in result.output


def test_an_unreachable_database_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETRING_DATABASE_URL", "postgresql+psycopg://fleet:s3cret@127.0.0.1:1/fleet")
    settings.current.cache_clear()
    result = run("nodes", "list")
    assert result.exit_code == UNREACHABLE
    assert "127.0.0.1:1" in result.output
    assert "s3cret" not in result.output


def test_an_unreachable_broker_is_named_with_what_to_do(folder: Path) -> None:
    # A process of its own: Celery reads the broker's address once.
    environment = {**os.environ, "FLEETRING_BROKER_URL": "redis://:s3cret@127.0.0.1:1/0"}
    command = [str(Path(sys.executable).with_name("fleetring"))]
    run_ = {"capture_output": True, "text": True, "env": environment, "timeout": 60}
    assert subprocess.run([*command, "db", "upgrade"], check=True, **run_)  # type: ignore[call-overload]
    result = subprocess.run([*command, "locks", "list"], check=False, **run_)  # type: ignore[call-overload]
    assert result.returncode == UNREACHABLE
    assert "127.0.0.1:1" in result.stderr
    assert "s3cret" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_setting_stops_every_command_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETRING_SLOTS", "none")
    settings.current.cache_clear()
    result = run("nodes", "list")
    assert result.exit_code == WRONG_INPUT
    assert "setting slots = 'none' is impossible" in result.output


@pytest.mark.parametrize("command", ["worker", "beat", "flower"])
def test_a_wrong_setting_stops_celerys_own_commands_with_one_sentence(command: str) -> None:
    environment = {**os.environ, "FLEETRING_SLOTS": "none"}
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", command],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == WRONG_INPUT
    assert done.stderr.startswith("Error: setting slots = 'none' is impossible")
    assert "Traceback" not in done.stderr


def test_a_busy_node_has_an_exit_status_of_its_own() -> None:
    with (
        app.runtime.locks.acquire("node:node-1", owner="a", purpose="repair"),
        pytest.raises(click.ClickException, match="repair") as caught,
        explained(),
    ):
        app.runtime.locks.acquire("node:node-1", owner="b")
    assert caught.value.exit_code == LOCKED


def test_a_port_that_is_taken_is_named_with_the_option_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FLEETRING_")]:
        monkeypatch.delenv(name)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        result = run("demo", "--bmc-port", str(port))
    assert result.exit_code == WRONG_INPUT
    assert f"port {port} for the BMCs is already taken" in result.output
    assert "--bmc-port" in result.output


def test_the_demo_refuses_to_touch_a_fleet_that_settings_point_to() -> None:
    result = run("demo")
    assert result.exit_code == WRONG_INPUT
    assert "FLEETRING_BROKER_URL" in result.output


def test_one_folder_holds_one_running_fleet(folder: Path) -> None:
    with LocalFleet(folder / ".fleetring"), pytest.raises(FolderInUse, match=str(os.getpid())):
        LocalFleet(folder / ".fleetring").__enter__()


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    # A file stands where the folder should be: root, too, cannot write into that.
    (folder / ".fleetring").write_text("")
    result = run("up")
    assert result.exit_code == WRONG_INPUT
    assert "cannot write to" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    result = run(name, "--help")
    command = fleet.get_command(None, name)  # type: ignore[arg-type]
    pages = [result.output, *(run(name, sub, "--help").output for sub in getattr(command, "commands", {}))]
    assert all("Example" in page for page in pages[1:] or pages)


def test_an_unknown_benchmark_is_answered_with_those_there_are() -> None:
    result = run("bench", "telepathy")
    assert result.exit_code == WRONG_INPUT
    assert "there is no benchmark telepathy" in result.output
    assert "locks" in result.output


def test_the_command_line_is_mounted_in_celery_too() -> None:
    command = [sys.executable, "-m", "celery", "-A", "tasks", "fleet", "ring", "explain", "subcloud-1", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(result.stdout)[0]["subcloud"] == "subcloud-1"
