"""Actions that the tests of "why" run in a real worker."""

from celery.exceptions import Reject

from tasks import ActionTask, app, node_action
from tests.journal import wait_at


@node_action(name="why.hold")
def hold(task: ActionTask, door: str) -> str:
    """Hold the node until the test opens a door."""
    task.progress(1, 2, "erasing")
    wait_at(door, 60)
    return "held"


@node_action(name="why.fail")
def fail(task: ActionTask) -> None:
    raise RuntimeError("the firmware image is torn")


@app.task(name="why.refuse")
def refuse() -> None:
    raise Reject("never", requeue=False)
