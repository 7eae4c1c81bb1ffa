"""How long a subcloud is left alone after a failure."""

import random

from tasks.settings import Settings


def hold_off_after(attempts: int, settings: Settings) -> float:
    """Return how long to leave a subcloud alone after a failure, in seconds.

    A bound doubles with each attempt up to a cap, and the wait is drawn from 0 to that bound, so that subclouds that
    failed together don't come back together ("full jitter", as M. Brooker names it in "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015). The policy ``fixed`` is always the first hold-off.

    Args:
        attempts: how many there were, at least 1.
        settings: those with the policy, the first hold-off and the cap.
    """
    if settings.sync_hold_off_policy == "fixed":
        return settings.sync_hold_off
    bound = min(settings.sync_hold_off_cap, settings.sync_hold_off * 2.0 ** min(attempts - 1, 32))
    return random.uniform(0, bound)  # noqa: S311 - spreads load, guards nothing
