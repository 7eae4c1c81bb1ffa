"""A process that has imported everything a worker needs, and becomes one by forking: in tests, imports take longest.

It reads orders from its input, one JSON object a line: to become a worker, which it answers with the id of the new
process, or to tell how a process ended, which it answers with the exit status.
"""

import json
import os
import sys
from typing import Any

import celery.apps.worker
import celery.bin.celery
import celery.concurrency.prefork
import celery.concurrency.solo
import celery.concurrency.thread
import celery.worker.consumer
import kombu.transport.redis  # noqa: F401 - see above

import tasks.transport  # noqa: F401 - see above


def serve() -> None:
    """Answer orders until there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        if "ended" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["ended"], 0)[1])
        elif (answer := os.fork()) == 0:
            become_worker(order)
            return
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def become_worker(order: dict[str, Any]) -> None:
    """Go on as ``celery`` with the arguments, environment, folders and log of an order."""
    os.setsid()
    os.chdir(order["folder"])
    with open(os.devnull) as nothing, open(order["log"], "a") as log:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path[:0] = order["paths"]
    sys.argv = ["celery", *order["arguments"]]
    celery.bin.celery.main()


if __name__ == "__main__":
    serve()
