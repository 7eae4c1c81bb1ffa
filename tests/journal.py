"""What tasks in workers tell the test, and the doors at which they wait until it lets them go on: lists in Redis."""

import json
import os
from typing import Any

import redis
from celery import current_task

broker = redis.Redis.from_url(os.environ["FLEETRING_BROKER_URL"], decode_responses=True, socket_timeout=90)


def tell(event: str, **details: Any) -> None:
    """Write down what the running task has come to."""
    broker.rpush("journal", json.dumps({"event": event, "id": current_task.request.id, "pid": os.getpid(), **details}))


def wait_at(door: str, patience: float = 30.0) -> None:
    """Wait until the test opens a door, for `patience` seconds at most."""
    broker.blpop(f"door:{door}", timeout=patience)
