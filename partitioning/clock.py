"""The clock by which a member counts its own lease down."""

import time

# A monotonic clock stands still while the machine is suspended, a lease doesn't. Linux offers one that goes on.
_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds since boot, time asleep included (Linux; elsewhere the monotonic clock)."""
    return time.clock_gettime(_CLOCK_ID)


def local_deadline(sent: float, lease: float) -> float:
    """When a lease that was asked for at ``sent`` has certainly not yet ended at the server.

    One percent and two milliseconds are taken off for clocks of different speeds, as Redlock's analysis suggests.
    """
    return sent + lease * 0.99 - 0.002
