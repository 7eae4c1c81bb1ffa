"""One real worker with two slots for all tests of "why", on the suite's broker."""

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest

from tasks.testing import LiveFleet, live_fleet


@pytest.fixture(scope="module")
def fleet(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFleet]:
    """An inventory, and one worker of the queue ``actions``."""
    folder = tmp_path_factory.mktemp("fleet")
    with (
        live_fleet(folder, valkey, worker_lease=4, capabilities_ttl=3, sync_hold_off_policy="fixed") as made,
        made.worker("--pool=threads", "-Q", "actions", imports=["tests.why.why_actions"]),
    ):
        yield made


@pytest.fixture(scope="module")
def actions(fleet: LiveFleet) -> ModuleType:
    return import_module("tests.why.why_actions")
