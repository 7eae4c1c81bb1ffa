"""The README's own text, run as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import REPOSITORY, free_port
from tests.system.commands import Command, environment

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

FLEET_FILE = "nodes: [{name: node-01, driver: fake, driver_info: {state_dir: .}}]"


def test_an_action_in_a_file_of_ten_lines_runs_in_the_fleet_that_up_starts(
    start: Callable[..., Command], tmp_path: Path
) -> None:
    # Given the README's file, and its three commands
    text = (REPOSITORY / "README.md").read_text()
    [(name, source)] = re.findall(r"in a file `(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    [console] = re.findall(r"```console\n(export FLEETRING_IMPORTS.*?)```", text, re.DOTALL)
    export, up, call = console.splitlines()
    (tmp_path / name).write_text(source)
    (tmp_path / "fleet.yaml").write_text(FLEET_FILE)
    assert len([line for line in source.splitlines() if line.strip()]) <= 10

    # When the fleet runs with the exported setting, and knows a node
    [variable, value] = export.removeprefix("export ").split("=")
    fleet = start(*up.split()[1:], "--workers", "1", "--flower-port", free_port(), **{variable: value})
    fleet.until(lambda: "Flower is at" in fleet.text, "the fleet is up")
    in_shell(tmp_path, "fleetring nodes import fleet.yaml")

    # Then the call prints what the action returned
    assert in_shell(tmp_path, f"{export}\n{call}") == "node-01 is off and runs v2.img\n"


def in_shell(folder: Path, script: str) -> str:
    """Run lines as a user types them, with the programs of this environment."""
    own = environment()
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, env=own, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout
