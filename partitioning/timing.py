"""Which times fit together, and how often an extraction is tried."""

import logging
import math

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from partitioning.errors import InvalidGroupOptions, MemberNotInGroupError

logger = logging.getLogger(__name__)

#: Tries of an extraction whose process is not in its group, as in aodh.
EXTRACTION_TRIES = 5


def check_timing(*, lease: float, heartbeat: float, hold_down: float, max_backoff: float) -> None:
    """Refuse times, in seconds, with which a group cannot work.

    Raises:
        InvalidGroupOptions: one of them is impossible.
    """
    if not 0 < lease < math.inf:
        raise InvalidGroupOptions(f"lease must be above 0 seconds, got {lease}")
    if not 0 < heartbeat <= lease / 2:
        raise InvalidGroupOptions(f"heartbeat must be above 0 and at most half a lease, got {heartbeat}")
    if not 0 <= hold_down < math.inf:
        raise InvalidGroupOptions(f"hold_down must not be below 0 seconds, got {hold_down}")
    if not 0 < max_backoff < math.inf:
        raise InvalidGroupOptions(f"max_backoff must be above 0 seconds, got {max_backoff}")


def tries(longest_wait: float) -> Retrying:
    """Return what calls a function up to five times while it raises ``MemberNotInGroupError``, with random pauses."""
    return Retrying(
        retry=retry_if_exception_type(MemberNotInGroupError),
        stop=stop_after_attempt(EXTRACTION_TRIES),
        wait=wait_random(0, longest_wait),
        before_sleep=_warn,
        reraise=True,
    )


def _warn(_: RetryCallState) -> None:
    logger.warning("Cannot extract tasks because agent failed to join group properly. Rejoining group.")
