"""Bad input is answered by a named error, and nothing is taken."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from locking import InvalidRequest, LockError, LockManager, LockMode, StoreError

BAD_NAMES: list[Any] = [
    *([], "", (), {}, [""], [1], 7, None, b"bytes", [b"bytes"], ["a", None], "x" * 501, "\ud800", object()),
    [f"n{number}" for number in range(10_001)],
]
BAD_ARGUMENTS: list[dict[str, Any]] = [
    *({"lease": value} for value in (0, -1, math.nan, math.inf, 1e12, "30", None, True)),
    *({"wait": value} for value in (-1, math.nan, math.inf, 1e12, "5", True)),
    *({"max_hold": 0}, {"max_hold": -1}, {"lock_delay": -1}, {"lock_delay": math.nan}),
    *({"mode": "exclusive"}, {"mode": None}, {"priority": 1.5}, {"priority": "high"}),
    *({"purpose": 7}, {"purpose": "x" * 2000}, {"owner": "nul\0"}, {"task": b"x"}),
]


def test_names_that_cant_be_meant(locks: LockManager) -> None:
    for mode, names in itertools.product(LockMode, BAD_NAMES):
        with pytest.raises(InvalidRequest):
            locks.acquire(names, mode)
    assert locks.list() == ()


def test_arguments_that_cant_be_meant(locks: LockManager) -> None:
    for argument in BAD_ARGUMENTS:
        with pytest.raises(InvalidRequest):
            locks.acquire("a", **argument)
    assert locks.list() == ()


def test_the_callers_names_are_copied_sorted_and_taken_once(locks: LockManager) -> None:
    names = ["b", "a", "b"]
    with locks.acquire(names) as lock:
        assert lock.names == ("a", "b")
    assert names == ["b", "a", "b"]
    for same in (
        {"a"},
        ("a",),
        iter(["a"]),
        "a",
        {"a": LockMode.EXCLUSIVE},
        dict.fromkeys(["a"], LockMode.EXCLUSIVE).keys(),
    ):
        with locks.acquire(same) as lock:
            assert lock.names == ("a",)


def test_any_integer_is_a_priority(locks: LockManager) -> None:
    for priority in (10**400, -(10**400), 2**63, -7):
        assert locks.acquire("a", priority=priority).release()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("", InvalidRequest),
        ("redis", InvalidRequest),
        ("memcached://localhost", InvalidRequest),
        ("sqlite://", InvalidRequest),
        ("sqlite:///:memory:", InvalidRequest),
        ("sentinel://localhost:26379/0", InvalidRequest),
        ("postgresql+nodriver://localhost/x", InvalidRequest),
        ("redis://localhost/zero", InvalidRequest),
        (None, InvalidRequest),
        ("redis://127.0.0.1:1/0", StoreError),
        ("postgresql+psycopg://127.0.0.1:1/x", StoreError),
        ("sqlite:////nonexistent/folder/locks.db", StoreError),
    ],
)
def test_an_address_that_leads_nowhere(url: Any, error: type[LockError]) -> None:
    with pytest.raises(error):
        LockManager.from_url(url)


def test_the_password_of_an_address_is_never_told() -> None:
    for url in ("redis://user:geheim@127.0.0.1:1/0", "postgresql+psycopg://user:geheim@127.0.0.1:1/x"):
        with pytest.raises(StoreError) as caught:
            LockManager.from_url(url)
        assert "geheim" not in str(caught.value)
        assert "127.0.0.1:1" in str(caught.value)


@pytest.mark.parametrize("namespace", ["", "a b", "a{b}", "x" * 41, "drop;table", 7])
def test_a_namespace_is_a_plain_word(tmp_path: Path, namespace: Any) -> None:
    with pytest.raises(InvalidRequest):
        LockManager.from_url(f"sqlite:///{tmp_path}/locks.db", namespace=namespace)


def test_a_handle_that_was_never_given_out_is_lost(locks: LockManager) -> None:
    for handle in ("", "no such", "x" * 100):
        with pytest.raises(LockError):
            locks.adopt(handle)
    with pytest.raises(InvalidRequest):
        locks.adopt(7)  # type: ignore[arg-type]  # on purpose
