"""The documentation's example of tests for a user's own actions, run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY
from tests.system.commands import environment

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def test_the_test_file_of_the_documentation_passes_as_it_stands(tmp_path: Path) -> None:
    # Given the action of the README and the test file of the documentation
    [(name, source)] = re.findall(
        r"in a file `(\w+\.py)`:\n\n```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL
    )
    [(test_name, test)] = re.findall(
        r"`(test_\w+\.py)`:\n\n```python\n(.*?)```", (REPOSITORY / "docs/own-actions.md").read_text(), re.DOTALL
    )
    (tmp_path / name).write_text(source)
    (tmp_path / test_name).write_text(test)

    # When a user runs it, and takes each warning seriously
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", test_name]
    command += ["-W", "ignore:Call to deprecated setex:DeprecationWarning"]  # Celery 5.7 on redis-py 8
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=150
    )

    # Then all of it passes
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
