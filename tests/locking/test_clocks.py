"""Clocks that disagree: a client's, which decides nothing, and the server's, which jumps."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from locking import LockManager, ResourceLocked
from locking.redis import scripts
from tests.processes import wait_until

_WRONG_CLOCKS = """
for name in ("time", "monotonic", "time_ns", "monotonic_ns"):
    ahead = AHEAD * (10**9 if name.endswith("ns") else 1)
    setattr(time, name, lambda right=getattr(time, name), ahead=ahead: right() + ahead)
time.clock_gettime = lambda clock, right=time.clock_gettime: right(clock) + AHEAD
"""


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_a_process_whose_clocks_are_an_hour_off_holds_and_waits_like_any_other(
    locks: LockManager, another: Callable[[str], Any], ahead: int
) -> None:
    holder = another(
        _WRONG_CLOCKS.replace("AHEAD", str(ahead))
        + """
lock = locks.acquire("a", lease=2.0)
say(lock.fence, round(lock.remaining()))
sys.stdin.readline()
lock.ensure()
lock.release()
with locks.acquire("a", wait=10.0) as lock: say(lock.fence)
"""
    )
    # Given a holder with wrong clocks, whose lease is as long as anybody's
    fence, left = map(int, holder.line().split())
    assert left in (1, 2)
    time.sleep(2.4)
    with pytest.raises(ResourceLocked):
        locks.acquire("a")
    # When it releases after several renewals, and waits in its turn
    holder.tell()
    with locks.acquire("a", wait=5.0) as lock:
        assert lock.fence > fence
        time.sleep(0.2)
    # Then it gets the lock once more, before this process or after it
    assert int(holder.line()) > fence


@pytest.fixture
def skew(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Steps the clock that scripts read, by seconds kept in a key; everything else of them runs as it is."""
    original = scripts._script

    def skewed(verb: str) -> tuple[str, str]:
        text, digest = original(verb)
        clock = (
            "(function() local t = redis.call('TIME'); t[1] = t[1] + (redis.call('GET', 'skew') or 0); return t end)()"
        )
        assert "redis.call('TIME')" in text
        return text.replace("redis.call('TIME')", clock), digest[::-1]  # as no server knows it, it is sent as a whole

    monkeypatch.setattr(scripts, "_script", skewed)
    yield lambda seconds: redis.set("skew", seconds)
    redis.delete("skew")


def test_a_server_clock_that_jumps_forward_ends_leases_and_the_holder_learns_it(
    skew: Callable[[int], None], locks: LockManager
) -> None:
    lock = locks.acquire("a", lease=2.0)
    skew(3600)
    with locks.acquire("a", owner="next") as following:
        assert following.fence > lock.fence
        wait_until(lambda: lock.lost, 5)
        assert not lock.release()


def test_a_server_clock_that_jumps_back_lengthens_leases_and_fences_still_grow(
    skew: Callable[[int], None], locks: LockManager
) -> None:
    lock = locks.acquire("a", lease=2.0)
    skew(-3600)
    with pytest.raises(ResourceLocked):
        locks.acquire("a", owner="next")
    time.sleep(0.6)
    lock.ensure()
    assert lock.release()
    with locks.acquire("a", owner="next") as following:
        assert following.fence > lock.fence
