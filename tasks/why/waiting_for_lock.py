"""Judges locks: whether one stands in a task's way, and who waits for it."""

from collections.abc import Iterator, Sequence
from typing import Any

from locking import Holder, LockMode, Waiter
from tasks.why.facts import LockFacts
from tasks.why.report import Behind, Cause
from tasks.why.words import number, span, who

#: So many of those who wait are told one by one.
TOLD = 10


def causes(locks: Sequence[LockFacts], task_id: str, mode: LockMode | None, at: float) -> list[Cause]:
    """Return what of `locks` keeps a task out, at the time `at`; an unknown mode counts as exclusive."""
    return [cause for lock in locks if (cause := _cause(lock, task_id, mode or LockMode.EXCLUSIVE, at))]


def _cause(lock: LockFacts, task_id: str, mode: LockMode, at: float) -> Cause | None:
    own = next((waiter for waiter in lock.waiters if waiter.task == task_id), None)
    ahead = own.position if own else len(lock.waiters)
    others = [holder for holder in lock.holders if holder.task != task_id]
    if any(holder.task == task_id for holder in lock.holders):
        return None
    details: dict[str, Any] = {"lock": lock.name, "ahead": ahead, "holders": [holder.as_dict() for holder in others]}
    if others and LockMode.EXCLUSIVE in {mode, others[0].mode}:
        longest = max(others, key=lambda holder: holder.age)
        more = f", and {number(len(others) - 1, 'other')}" if len(others) > 1 else ""
        line = f"; {number(ahead, 'task')} in front of it" if ahead else ""
        return Cause("lock", f"waits for lock {held(longest)}{more}{line}", at - longest.age, details=details)
    if ahead:
        first = lock.waiters[0]
        return Cause("lock", f"waits in line for lock {lock.name} behind {who(first)}", at - first.age, details=details)
    return None


def held(holder: Holder) -> str:
    """Who holds which lock, what for, and for how long."""
    return f"{holder.name}, held {holder.mode.value} by {who(holder)} for {span(holder.age)}"


def next_in_line(locks: Sequence[LockFacts], task_id: str) -> str:
    """What sets a task free that waits for locks."""
    places = [waiter.position for lock in locks for waiter in lock.waiters if waiter.task == task_id]
    leases = [holder.lease_left for lock in locks for holder in lock.holders if holder.task != task_id]
    line = f" and {number(max(places, default=0), 'request')} in front of it is done" if any(places) else ""
    dead = f"; if the holder is dead, its lease ends within {span(max(leases))}" if leases else ""
    return f"goes on when the lock is released{line}{dead}"


def behind(locks: Sequence[LockFacts], task_id: str | None) -> tuple[tuple[Behind, ...], int]:
    """Return the first who wait behind a task, or behind whoever holds the lock now (None), and how many do."""
    waiting = [waiter for lock in locks for waiter in _after(lock, task_id)]
    return tuple(map(_told, waiting[:TOLD])), len(waiting)


def _after(lock: LockFacts, task_id: str | None) -> Iterator[Waiter]:
    own = [waiter.position for waiter in lock.waiters if waiter.task == task_id]
    holds = task_id is None or any(holder.task == task_id for holder in lock.holders)
    if own or holds:
        yield from (waiter for waiter in lock.waiters if not own or waiter.position > own[0])


def _told(waiter: Waiter) -> Behind:
    text = f"{who(waiter)} for {waiter.name}, since {span(waiter.age)}, priority {waiter.priority}"
    return Behind(text, waiter.task, waiter.age)
