"""Code outside of tasks that waits for nodes and works on them, again and again, until a file is there."""

import random
import sys
import time
from pathlib import Path
from uuid import uuid4

from locking import LockError
from parked.actions import Witness
from tasks import task_manager


def main(nodes: int, end: Path) -> None:
    """Wait, work, wait; what it does without a store of locks is to try again."""
    while not end.exists():
        names = random.sample([f"node-{number}" for number in range(nodes)], k=2)
        try:
            with task_manager.acquire(names, wait=20.0, purpose="a waiter") as held:
                Witness(f"waiter-{uuid4()}", held.lock.fence, [node.name for node in held.nodes]).work(0.01)
        except LockError:
            time.sleep(0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
