"""Locks around functions."""

import string
from collections.abc import Callable
from functools import wraps
from inspect import Signature, signature
from typing import ParamSpec, TypeVar

from locking.errors import ExclusiveLockRequired, InvalidRequest, LockError
from locking.lock import Lock
from locking.manager import LockManager
from locking.modes import LockMode

P = ParamSpec("P")
R = TypeVar("R")

_default: LockManager | None = None


def set_default(manager: LockManager | None) -> None:
    """Set the manager that `locked` uses where none is named; None takes it away."""
    global _default  # noqa: PLW0603 - one default a process is what it is for
    _default = manager


def locked(
    name: str,
    *,
    mode: LockMode = LockMode.EXCLUSIVE,
    wait: float | None = 0.0,
    lease: float = 30.0,
    purpose: str = "",
    manager: LockManager | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Hold a lock around each call of a function.

    Args:
        name: The lock's name, with the function's arguments in braces: `@locked("node:{node_id}")`.
        mode: Defaults to EXCLUSIVE.
        wait: Seconds to wait for it; None waits without end. Defaults to 0.0.
        lease: Seconds, see `LockManager.acquire`. Defaults to 30.0.
        purpose: Shown to whoever is kept out. Defaults to the function's name.
        manager: Defaults to the one given to `set_default`, looked up at each call.

    Raises:
        InvalidRequest: At decoration: the name speaks of an argument that the function doesn't have.
        LockError: At a call: whatever `LockManager.acquire` raises, or there is no manager.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        arguments = signature(function)
        _check_fields(name, arguments, function.__qualname__)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = arguments.bind(*args, **kwargs)
            bound.apply_defaults()
            with _manager(manager).acquire(
                name.format_map(bound.arguments), mode, wait=wait, lease=lease, purpose=purpose or function.__qualname__
            ):
                return function(*args, **kwargs)

        return call

    return decorate


def require_exclusive(function: Callable[P, R]) -> Callable[P, R]:
    """Call a function only with an exclusive lock that is still held, given by position or by keyword.

    A `Lock` counts, or anything with a `lock` attribute that is one.

    Raises:
        ExclusiveLockRequired: At a call: no lock is among the arguments, or it is shared, observed, released or lost.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        locks = [lock for value in (*args, *kwargs.values()) if (lock := _lock_of(value)) is not None]
        if not locks:
            raise ExclusiveLockRequired(f"{function.__qualname__} needs an exclusive lock and was given none")
        for lock in locks:
            if lock.mode is not LockMode.EXCLUSIVE or lock.released or lock.lost:
                raise ExclusiveLockRequired(
                    f"{function.__qualname__} needs an exclusive lock that is held, not {lock!r}"
                )
        return function(*args, **kwargs)

    return call


def _lock_of(value: object) -> Lock | None:
    lock = value if isinstance(value, Lock) else getattr(value, "lock", None)
    return lock if isinstance(lock, Lock) else None


def _manager(manager: LockManager | None) -> LockManager:
    found = manager or _default
    if found is None:
        raise LockError("no lock manager: pass manager=... to @locked, or call locking.set_default first")
    return found


def _check_fields(name: str, arguments: Signature, function: str) -> None:
    for _, field, _, _ in string.Formatter().parse(name):
        if field is not None and field.partition(".")[0].partition("[")[0] not in arguments.parameters:
            raise InvalidRequest(f"@locked({name!r}): {function} has no argument {field!r}")
