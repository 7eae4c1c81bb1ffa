"""Flower shows true queue lengths."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

pytestmark = pytest.mark.system

HERE = Path(__file__).parent


def test_the_length_of_a_queue_in_flowers_api_is_true(app: Celery, url: str, wait_until: Callable[..., Any]) -> None:
    # Given three ready tasks and a delayed one, and a Flower started as ever
    for countdown in (None, None, None, 60):
        app.send_task("add", args=[1, 2], countdown=countdown)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": f"{HERE.parents[1]}:{HERE}",
        "QUEUE_APP_URL": url,
        "FLOWER_UNAUTHENTICATED_API": "true",
    }
    command = [sys.executable, "-m", "celery", "-A", "queue_app", "flower", "--address=127.0.0.1", f"--port={port}"]
    flower = subprocess.Popen(command, env=environment, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

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
