"""Sends numbered actions until it has sent all, and writes down which were accepted: ``enqueuer COUNT NODES FILE``.

Started again after a kill it goes on behind the last one that it wrote down; the one after that may be sent twice,
under the same id.
"""

import os
import random
import sys
import time
from pathlib import Path

from parked.actions import work
from tasks.errors import FleetringError


def main(count: int, nodes: int, accepted: Path) -> None:
    """Send what is not yet accepted, some three hundred a second."""
    file = os.open(accepted, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    dice = random.Random(os.getpid())  # noqa: S311 - no secret
    for number in range(len(accepted.read_text().split()), count):
        refs = [f"node-{number % nodes}"]
        if number % 10 == 9:
            refs.append(f"node-{(number * 3) % nodes}")
        while True:
            try:
                work.apply_async([refs, dice.choice((0.0, 0.005, 0.02))], task_id=f"t{number:06d}", priority=number % 3)
                break
            except FleetringError:  # the broker is away
                time.sleep(0.1)
        os.write(file, f"t{number:06d}\n".encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
