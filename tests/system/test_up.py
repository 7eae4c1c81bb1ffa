import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.processes import REPOSITORY, free_port
from tests.system.commands import Command, environment

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

FLEET_FILE = """
nodes:
  - {name: node-01, driver: fake, driver_info: {state_dir: state}}
  - {name: node-02, driver: fake, driver_info: {state_dir: state}}
"""


def in_folder(folder: Path, *command: str) -> str:
    """Run a command where the fleet runs and return what it prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_every_command_in_the_folder_finds_the_fleet_that_runs_there(start: Callable[..., Command]) -> None:
    # Given a fleet with two fake nodes
    fleet = start("up", "--workers", "1", "--flower-port", free_port())
    (fleet.folder / "state").mkdir()
    (fleet.folder / "fleet.yaml").write_text(FLEET_FILE)
    fleet.until(lambda: "Flower is at" in fleet.text, "the fleet is up")
    in_folder(fleet.folder, "-m", "tasks.cli", "nodes", "import", "fleet.yaml")
    fleet.until(
        lambda: "celery@" in fleet.text or "ready" in fleet.text or "worker-1" in fleet.text, "the worker speaks"
    )

    # When the README's example enqueues from application code
    [example] = re.findall(
        r"```python\n(from tasks import Priority\n.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL
    )
    (fleet.folder / "example.py").write_text(example)
    printed = in_folder(fleet.folder, "example.py")

    # Then it prints what the README says, and it is short
    assert len(example.strip().splitlines()) <= 15
    assert printed.splitlines() == ["{'node-01': 'on', 'node-02': 'on'}", "{'node-01': 'on'}", "on"]

    # And Celery's own commands need no further flags
    assert "pong" in in_folder(fleet.folder, "-m", "celery", "-A", "tasks", "inspect", "ping")
    assert "set_power_state" in in_folder(fleet.folder, "-m", "celery", "-A", "tasks", "inspect", "registered")
    assert "ok" in in_folder(fleet.folder, "-m", "tasks.cli", "doctor")

    # When it is asked to end, as by Ctrl-C, then every process ends and the addresses are forgotten
    processes = fleet.children()
    fleet.popen.terminate()
    assert fleet.popen.wait(60) == 130
    assert psutil.wait_procs(processes, 5)[1] == []
    assert not (fleet.folder / ".fleetring/running.toml").exists()
