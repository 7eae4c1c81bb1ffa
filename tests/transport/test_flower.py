"""Flower shows true queue lengths."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from tests.processes import REPOSITORY, free_port

pytestmark = pytest.mark.system


def test_the_length_of_a_queue_in_flowers_api_is_true(app: Celery, url: str, wait_until: Callable[..., Any]) -> None:
    # Given three ready tasks and a delayed one, and a Flower started as ever
    for countdown in (None, None, None, 60):
        app.send_task("add", args=[1, 2], countdown=countdown)
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "QUEUE_APP_URL": url,
        "FLOWER_UNAUTHENTICATED_API": "true",
    }
    celery = [sys.executable, "-m", "celery", "-A", "tests.transport.queue_app"]
    flower = subprocess.Popen(
        [*celery, "flower", "--address=127.0.0.1", f"--port={port}"],
        env=environment, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def lengths() -> dict[str, int] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/queues/length") as answer:
                return {queue["name"]: queue["messages"] for queue in json.load(answer)["active_queues"]}
        except urllib.error.URLError:
            return None

    # When its queue-length API is asked
    try:
        shown = wait_until(lengths)
    finally:
        flower.terminate()
        flower.wait()

    # Then it counts all four
    assert shown == {"actions": 4}
