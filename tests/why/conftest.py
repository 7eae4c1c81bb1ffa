"""One real worker with two slots for all tests of "why", on the suite's broker."""

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from tasks.testing import LiveFleet, live_fleet

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def fleet(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """An inventory, and one worker of the queue ``actions``."""
    with (
        live_fleet(
            tmp_path_factory.mktemp("fleet"), valkey, worker_lease=4, capabilities_ttl=3, sync_hold_off_policy="fixed"
        ) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.syspath_prepend(HERE)
        patch.setattr("sys.path", [str(HERE.parents[1]), *sys.path])
        with made.worker("--pool=threads", "-Q", "actions", imports=["why_actions"]):
            yield made


@pytest.fixture(scope="module")
def actions(fleet: LiveFleet) -> ModuleType:
    return importlib.import_module("why_actions")


@pytest.fixture
def open_door(valkey: str) -> Callable[[str], object]:
    """Lets an action go on that waits at a door."""

    def open_(door: str) -> object:
        with redis.Redis.from_url(valkey) as client:
            return client.rpush(f"door:{door}", "open")

    return open_


def wait_until(condition: Callable[[], Any], timeout: float = 40.0) -> Any:
    """Return the first true value of `condition`; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"not within {timeout} s: {condition}")


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until
