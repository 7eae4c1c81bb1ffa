"""Actions that the tests of "why" run in a real worker."""

import os

import redis
from celery.exceptions import Reject

from tasks import ActionTask, app, node_action

broker = redis.Redis.from_url(os.environ["FLEETRING_BROKER_URL"], decode_responses=True)


@node_action(name="why.hold")
def hold(task: ActionTask, door: str) -> str:
    """Hold the node until the test opens a door."""
    task.progress(1, 2, "erasing")
    broker.blpop(f"door:{door}", timeout=60)
    return "held"


@node_action(name="why.fail")
def fail(task: ActionTask) -> None:
    raise RuntimeError("the firmware image is torn")


@app.task(name="why.refuse")
def refuse() -> None:
    raise Reject("never", requeue=False)
