"""Asks again and again until something has come true or the time is over."""

import time
from collections.abc import Callable

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 2.0
_GROWTH = 1.5


def poll(check: Callable[[], bool], timeout: float, first_pause: float = FIRST_PAUSE) -> bool:
    """Call `check` at once and then with growing pauses, and tell whether it came true within `timeout` seconds.

    The pauses grow by half from `first_pause` to two seconds; the last call is made when the time is over.
    """
    deadline = time.monotonic() + timeout
    pause = first_pause
    while not check():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * _GROWTH, LONGEST_PAUSE)
    return True
