"""Waiting for what workers do."""

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], timeout: float = 120.0, every: float = 0.02) -> float:
    """Wait for `condition`, and return the time of the monotonic clock at which it was seen to be true.

    Args:
        condition: what is to become true.
        timeout: seconds to wait at most. Defaults to 120.
        every: seconds between looks. Defaults to 0.02.

    Raises:
        TimeoutError: it did not become true.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the workers did not get on; see their logs, or run them by hand")
        time.sleep(every)
    return time.monotonic()
