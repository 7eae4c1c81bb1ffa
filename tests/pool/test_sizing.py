"""Sizes make workers larger: prefork and threads, those that are there and those that come later."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tasks import app, pool
from tasks.pool.sizing import largest_share
from tasks.workers import Register

Wait = Callable[..., Any]
Start = Callable[..., Any]


@pytest.fixture
def slots() -> Callable[[], dict[str, int]]:
    """Tells how many slots each worker has."""

    def ask() -> dict[str, int]:
        return {seen.name: seen.report.slots for seen in Register(app).read() if seen.report}

    return ask


@pytest.mark.system
@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_a_size_makes_workers_larger_also_those_that_come_later(
    work: Any,
    slots: Callable[[], dict[str, int]],
    start_worker: Start,
    wait_until: Wait,
    *,
    journal: Any,
    kind: str,
    open_door: Callable[[str], int],
) -> None:
    # Given a worker with one slot, and a size of three
    start_worker("--pool", kind, "--concurrency", "1")
    pool.resize("actions", 3)

    # When four tasks come that last
    for number in range(4):
        pool.add(work.hold.s(f"door{number}"))

    # Then three run at once
    wait_until(lambda: len(journal("began")) == 3)
    wait_until(lambda: slots() == {"w0@test": 3})

    # When a second worker starts, then both have their share
    start_worker("--pool", kind, "--concurrency", "1")
    wait_until(lambda: slots().get("w1@test") == 2)
    assert pool.stats().running <= 3

    # When the size is taken back and nothing runs, then both are as small as they were
    pool.resize("actions", None)
    for number in range(4):
        open_door(f"door{number}")
    wait_until(lambda: slots() == {"w0@test": 1, "w1@test": 1}, timeout=40)
    assert pool.add(work.note.s("still at work")).get(timeout=20) == "still at work"


@pytest.mark.system
@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_a_pool_that_an_operator_grew_keeps_that_beside_a_size(
    work: Any, slots: Callable[[], dict[str, int]], start_worker: Start, wait_until: Wait, *, kind: str
) -> None:
    # Given a worker that an operator made larger by one, and a size beyond that
    start_worker("--pool", kind, "--concurrency", "1")
    wait_until(lambda: app.control.ping(timeout=1))  # a worker that is ready hears broadcasts a moment later
    app.control.pool_grow(1, reply=True, timeout=3)
    wait_until(lambda: slots() == {"w0@test": 2})
    pool.resize("actions", 3)
    wait_until(lambda: slots() == {"w0@test": 3})

    # When the size is taken back, then what the operator added stays
    pool.resize("actions", None)
    wait_until(lambda: slots() == {"w0@test": 2})

    # And the operator can take it away
    app.control.pool_shrink(1, reply=True, timeout=3)
    wait_until(lambda: slots() == {"w0@test": 1})
    assert pool.add(work.note.s("still at work")).get(timeout=20) == "still at work"


@pytest.mark.system
def test_an_autoscaled_worker_may_grow_to_a_size(
    work: Any, start_worker: Start, wait_until: Wait, journal: Callable[..., Any], open_door: Callable[[str], int]
) -> None:
    # Given a worker that scales itself between one and two processes, and a size of three
    start_worker("--autoscale", "2,1")
    pool.resize("actions", 3)

    # When as many tasks come
    for number in range(3):
        pool.add(work.hold.s(f"door{number}"))

    # Then all run at once
    wait_until(lambda: len(journal("began")) == 3)
    for number in range(3):
        open_door(f"door{number}")
    wait_until(lambda: len(journal("ended")) == 3)


def test_a_share_is_even_and_the_largest_size_decides() -> None:
    assert largest_share({}, Counter()) == 0
    assert largest_share({"a": 7}, Counter(a=1)) == 7
    assert largest_share({"a": 7, "b": 2}, Counter(a=2, b=1)) == 4
    assert largest_share({"a": 0}, Counter(a=3)) == 0
