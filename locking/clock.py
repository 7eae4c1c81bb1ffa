"""The clock by which a holder counts its own lease down."""

import time

# A monotonic clock stands still while the machine is suspended, a lease doesn't. Linux offers one that goes on.
_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds since boot, time asleep included (Linux; elsewhere the monotonic clock)."""
    return time.clock_gettime(_CLOCK_ID)


def local_deadline(sent: float, granted: float) -> float:
    """When a lease of `granted` seconds, asked for at `sent`, has certainly not yet ended at the server.

    Counted from the sending, so that a slow reply shortens it. One percent and two milliseconds are taken off for
    clocks that run at different speeds, as Redlock's analysis suggests.
    """
    return sent + granted * 0.99 - 0.002
