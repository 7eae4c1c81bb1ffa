"""Actions that bear witness in a file of their own, so that neither broker nor locks are asked what happened."""

import os
import time
from pathlib import Path
from typing import Any

from locking import LockManager, LockMode
from tasks import ActionTask, app, node_action
from tasks.transport import Queues

#: Seconds between two signs of life of a body.
SIGN_EVERY = 0.005

# a killed worker is missed soon, and a restarted server trusted soon
app.conf.broker_transport_options = {
    **app.conf.broker_transport_options,
    "lease": 3,
    "heartbeat": 0.5,
    "restart_grace": 6,
}


class Witness:
    """Appends lines to the file that ``PARKING_WITNESS`` names; a short append is one piece, so their order is true.

    Args:
        run: who writes, one name for each run.
        fence: of the lock that the run holds.
        nodes: what it holds.
    """

    def __init__(self, run: str, fence: int, nodes: list[str]) -> None:
        self._run, self._fence, self._nodes = run, fence, nodes
        self._file = os.open(os.environ["PARKING_WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, event: str) -> None:
        """Write that something happened on each node."""
        moment = f"{event} {self._run} {os.getpid()} {self._fence} {time.time():.6f}"
        os.write(self._file, "".join(f"{moment} {node}\n" for node in self._nodes).encode())

    def work(self, seconds: float) -> None:
        """Begin, give signs of life for so long, end."""
        deadline = time.monotonic() + seconds
        try:
            self.note("begin")
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(SIGN_EVERY, left))
                self.note("still")
            self.note("end")
        finally:
            os.close(self._file)


@node_action(name="parked.work")
def work(task: ActionTask, seconds: float = 0.0) -> None:
    """Hold a node for a while."""
    Witness(app.current_task.request.id, task.lock.fence, [node.name for node in task.nodes]).work(seconds)


@node_action(name="parked.nothing")
def nothing(task: ActionTask) -> None:
    """Hold a node for no time at all."""


@node_action(name="parked.hold")
def hold(task: ActionTask, until: str) -> None:
    """Hold a node until a file is there."""
    Path(f"{until}.held").touch()
    while not Path(until).exists() and not task.should_terminate():
        time.sleep(0.2)


class NoLock:
    """Stands for a lock where there is none."""

    mode, modes, fence, lost, released = LockMode.EXCLUSIVE, {}, 0, False, False

    def ensure(self, min_left: float = 0.0) -> None:
        """Do nothing."""

    def release(self) -> bool:
        """Do nothing."""
        return True

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


def _not_locked(*_: Any, **__: Any) -> Any:
    return NoLock()


if os.environ.get("PARKING_LOCKS") == "off":
    LockManager.enqueue = _not_locked  # type: ignore[method-assign]  # all the rest stays as it is


def parked() -> int:
    """Count the parked actions."""
    with app.queues() as queues:
        return queues.stats("actions").parked


def alive() -> int:
    """Count the actions that live."""
    with app.queues() as queues:
        return _living(queues)


def _living(queues: Queues) -> int:
    stats = queues.stats("actions")
    return sum(stats.depth.values()) + stats.running + stats.parked + stats.delayed
