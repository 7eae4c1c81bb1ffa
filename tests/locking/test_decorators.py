"""Locks around functions, and functions that ask for one."""

import inspect
from collections.abc import Iterator

import pytest

from locking import (
    ExclusiveLockRequired,
    InvalidRequest,
    Lock,
    LockError,
    LockManager,
    LockMode,
    ResourceLocked,
    locked,
    require_exclusive,
    set_default,
)


@pytest.fixture
def default(locks: LockManager) -> Iterator[LockManager]:
    set_default(locks)
    yield locks
    set_default(None)


def test_a_function_runs_under_the_lock_that_its_arguments_name(default: LockManager) -> None:
    @locked("node:{node_id}:{part}")
    def flash(node_id: int, part: str = "bmc") -> list[str]:
        """Flash a part."""
        return [state.name for state in default.list()]

    assert flash(7) == flash(node_id=7) == ["node:7:bmc"]
    assert flash(7, part="bios") == ["node:7:bios"]
    assert default.list() == ()
    assert (flash.__name__, flash.__doc__) == ("flash", "Flash a part.")
    assert list(inspect.signature(flash).parameters) == ["node_id", "part"]


def test_a_busy_lock_keeps_the_function_from_running(default: LockManager) -> None:
    @locked("{name}", mode=LockMode.SHARED, manager=default)
    def read(name: str) -> None:
        raise AssertionError

    with default.acquire("a", purpose="write"), pytest.raises(ResourceLocked, match="write"):
        read("a")


def test_a_name_of_an_argument_that_isnt_there_is_refused_at_decoration() -> None:
    with pytest.raises(InvalidRequest, match="no argument 'node'"):
        locked("node:{node}")(lambda other: other)


def test_without_a_manager_the_call_says_what_to_do() -> None:
    with pytest.raises(LockError, match="set_default"):
        locked("a")(lambda: None)()


def test_a_function_that_needs_an_exclusive_lock_checks_that_it_is_held(locks: LockManager) -> None:
    class Service:
        @require_exclusive
        def write(self, lock: Lock, value: int = 1) -> int:
            return value

    write = Service().write
    with locks.acquire("a") as lock:
        assert write(lock) == 1
        assert write(value=2, lock=lock) == 2
        lock.downgrade()
        with pytest.raises(ExclusiveLockRequired, match="shared"):
            write(lock)
    with pytest.raises(ExclusiveLockRequired, match="released"):
        write(lock)
    with pytest.raises(ExclusiveLockRequired, match="given none"):
        write("not a lock")  # type: ignore[arg-type]  # on purpose
    assert Service.write.__name__ == "write"


def test_whatever_carries_a_lock_may_be_given_instead(locks: LockManager) -> None:
    class Task:
        def __init__(self, lock: Lock) -> None:
            self.lock = lock

    with locks.acquire("a") as lock:
        assert require_exclusive(lambda task: "done")(Task(lock)) == "done"
