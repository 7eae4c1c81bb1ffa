from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.commands import Command


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts commands, and ends those that a failed test leaves."""
    started: list[Command] = []

    def run(*arguments: object, **settings: str) -> Command:
        started.append(Command(tmp_path, *arguments, **settings))
        return started[-1]

    yield run
    for command in started:
        if command.popen.poll() is None:
            command.popen.terminate()
            command.popen.wait(40)
