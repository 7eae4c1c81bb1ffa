"""Node actions that tests of parking run in real workers; they tell what happens in a list in Redis."""

import time
from typing import Any

from tasks import ActionTask, LockMode, app, node_action
from tests import journal

# a killed worker is missed soon
app.conf.broker_transport_options = {
    **app.conf.broker_transport_options,
    "lease": 2,
    "heartbeat": 0.3,
    "restart_grace": 2,
}


def tell(event: str, task: ActionTask, **details: Any) -> None:
    journal.tell(event, fence=task.lock.fence, nodes=[node.name for node in task.nodes], **details)


def work(task: ActionTask, door: str | None, seconds: float) -> str:
    """Begin, wait until the test opens a door, or for a time, and end."""
    tell("began", task, priority=task.priority)
    if door is not None:
        journal.wait_at(door)
    time.sleep(seconds)
    tell("ended", task)
    return "worked"


@node_action(name="parking.hold")
def hold(task: ActionTask, door: str | None = None, seconds: float = 0.0) -> str:
    return work(task, door, seconds)


@node_action(name="parking.share", mode=LockMode.SHARED)
def share(task: ActionTask, door: str | None = None, seconds: float = 0.0) -> str:
    return work(task, door, seconds)


@node_action(name="parking.fail")
def fail(task: ActionTask) -> None:
    raise RuntimeError("the machine is on fire")


@app.task(name="parking.gather")
def gather(results: list[Any]) -> list[Any]:
    return results
