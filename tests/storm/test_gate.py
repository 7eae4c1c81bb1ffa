"""The gate before the centre, and the cache behind it, on a real server."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from tasks.drivers import Centre
from tasks.storm import Budget, CentreBusy, CentreFailed, Gate

PLENTY = Budget(rate=10_000, burst=10_000, concurrency=4)


def client_of(url: str) -> Any:
    """A client for each use, as a gate takes it."""

    @contextmanager
    def client() -> Iterator[Any]:
        with redis.Redis.from_url(url) as opened:
            yield opened

    return client


def test_no_more_calls_in_a_second_than_the_bucket_gives(valkey_url: str) -> None:
    # Given a budget of 20 calls per second after 5 at once, and callers who would make more
    gate = Gate("identity", client_of(valkey_url), Budget(rate=20, burst=5, concurrency=50))
    starts: list[float] = []

    def call(_number: int) -> None:
        with gate.passage(patience=30):
            starts.append(time.monotonic())

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(call, range(25)))

    # Then the first five go at once, and the other twenty take a second
    assert max(starts) - min(starts) >= 0.9


def test_never_more_callers_inside_than_there_are_places(valkey_url: str) -> None:
    gate = Gate("identity", client_of(valkey_url), PLENTY)
    inside, most, lock = 0, 0, threading.Lock()

    def call(_number: int) -> None:
        nonlocal inside, most
        with gate.passage(patience=30):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(60)))
    assert 2 <= most <= PLENTY.concurrency
    assert gate.state().inside == 0


def test_places_grow_while_all_is_well_and_shrink_with_failures(valkey_url: str) -> None:
    # Given a gate whose places are all used, which lets more in as all goes well
    gate = Gate("identity", client_of(valkey_url), PLENTY)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _use(gate), range(80)))
    grown = gate.state().limit
    assert grown > PLENTY.concurrency / 2

    # When a call fails, and none took too long in the second before, then it lets fewer in
    with redis.Redis.from_url(valkey_url) as server:
        server.hdel("fleetring:centre:identity", "cut_at")
    with pytest.raises(CentreFailed, match="identity could not be read from the centre: no route"), gate.passage():
        raise OSError("no route")
    assert gate.state().limit == pytest.approx(max(1.0, grown * 0.7), rel=0.01)


def _use(gate: Gate) -> None:
    with gate.passage(patience=30):
        time.sleep(0.005)


def test_a_call_that_takes_much_longer_than_usual_is_a_sign_of_overload(valkey_url: str) -> None:
    gate = Gate("identity", client_of(valkey_url), PLENTY)
    for _ in range(3):
        _use(gate)
    before = gate.state().limit
    with gate.passage():
        time.sleep(0.3)
    assert gate.state().limit < before


def test_the_place_of_a_process_that_died_lapses(valkey_url: str) -> None:
    # Given a gate with one place, whose holder died (its place has lapsed)
    gate = Gate("identity", client_of(valkey_url), Budget(rate=100, burst=100, concurrency=1))
    with redis.Redis.from_url(valkey_url) as server:
        server.zadd("fleetring:centre:identity:inside", {"dead": 1.0})
    # When it is taken anew, then another caller is told when to come again
    with gate.passage(patience=0), pytest.raises(CentreBusy) as busy, gate.passage(patience=0):
        pass
    assert busy.value.retry_after > 0


def test_a_gate_that_does_not_answer_lets_nobody_through() -> None:
    gate = Gate("identity", client_of("redis://127.0.0.1:1/0"), PLENTY)
    with pytest.raises(CentreBusy), gate.passage():
        pass


def test_many_subclouds_at_once_read_the_centre_once_and_again_when_the_data_is_old(valkey_url: str) -> None:
    # Given many who want the same
    centre = Centre("sqlite://", 0.5, Gate("identity", client_of(valkey_url), PLENTY).passage)
    reads: list[float] = []

    def load() -> str:
        reads.append(time.monotonic())
        time.sleep(0.05)
        return "rows"

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: centre.cached("rows", load), range(100))) == {"rows"}
    assert len(reads) == 1

    # When another driver wants something else, or the time to live is over, then it is read again
    centre.cached("others", load)
    assert len(reads) == 2
    time.sleep(0.6)
    centre.cached("rows", load)
    assert len(reads) == 3


def test_those_who_wait_for_a_read_that_fails_do_not_all_fail_on_their_own(valkey_url: str) -> None:
    centre = Centre("sqlite://", 10, Gate("identity", client_of(valkey_url), PLENTY).passage)
    tries: list[int] = []

    def load() -> str:
        tries.append(1)
        time.sleep(0.05)
        raise OSError("the centre is down")

    def read(_number: int) -> bool:
        with pytest.raises(CentreFailed, match="identity could not be read from the centre: the centre is down"):
            centre.cached("rows", load)
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(32)))
    assert len(tries) <= 2


def test_a_read_that_rests_on_another_takes_one_place(valkey_url: str) -> None:
    gate = Gate("identity", client_of(valkey_url), Budget(rate=0.01, burst=1, concurrency=1))
    centre = Centre("sqlite://", 10, gate.passage)
    assert (
        centre.cached("digest", lambda: centre.cached("rows", lambda: "rows") + " of one moment")
        == "rows of one moment"
    )
