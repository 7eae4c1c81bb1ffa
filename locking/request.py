"""A request for locks: what is asked for, checked before anything is sent."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from locking.errors import InvalidRequest
from locking.modes import LockMode

MAX_NAME_BYTES = 500  # what every database can put into a primary key
MAX_NAMES = 10_000  # one such grant keeps a Redis server busy for some tenths of a second
PROVISIONAL = 5.0  # seconds in which a waiter confirms its grant: many round trips, and yet a short wait for the next
MAX_SECONDS = 365 * 86400.0
MAX_PRIORITY = 10**15  # beyond it, either way, all are alike: what every store can keep and reckon with

Names = str | Iterable[str] | Mapping[str, LockMode]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, under an id that is chosen before it is sent, so that sending it twice asks once.

    Args:
        id: Unique; whoever knows it may renew, change and release the grant.
        wants: Name to mode, sorted by name, without observers.
        owner: Who asks, for the error text and for `reap`.
        session: Tells apart threads that share an owner.
        info: Host, pid, task and purpose.
        lease: Seconds that a grant lives without renewal.
        wait: Whether to queue when a name is busy.
        priority: Lower goes first.
        ageing: Seconds of arrival that one level of priority is worth; None orders strictly by priority.
        max_hold: Seconds after which the grant ends in spite of renewals.
        lock_delay: Seconds for which the names stay closed after the grant ended uncleanly.
        mailbox: Where a grant is announced; empty if the releaser sees to it.
        patience: Seconds that a waiter lives without asking again.
        provisional: Seconds that a grant from the queue lives until it is confirmed.
        at_least: Take what is free, but this many names or nothing; 0 asks for all of them.
        ticket: The id under which it waits with nobody in it; empty if somebody waits for it.
        arrived: Since when the work waits, in seconds since 1970, if it is longer than the request does.
    """

    id: str
    wants: Mapping[str, LockMode]
    owner: str
    session: str = ""
    info: Mapping[str, str | int | None] = field(default_factory=dict)
    lease: float = 30.0
    wait: bool = False
    priority: int = 0
    ageing: float | None = 60.0
    max_hold: float | None = None
    lock_delay: float = 0.0
    mailbox: str = ""
    patience: float = 60.0
    provisional: float = PROVISIONAL
    at_least: int = 0
    ticket: str = ""
    arrived: float | None = None


def wanted(names: Names, mode: LockMode) -> dict[str, LockMode]:
    """Names and modes, checked, without duplicates, sorted; the caller's object isn't touched.

    Raises:
        InvalidRequest: No name, too many, something that isn't a usable name, or an unknown mode.
    """
    if isinstance(names, Mapping):
        pairs = dict(names)
    elif isinstance(names, str):
        pairs = {names: mode}
    elif isinstance(names, Iterable) and not isinstance(names, bytes | bytearray | memoryview):
        pairs = dict.fromkeys([_checked_name(name) for name in names], mode)
    else:
        raise InvalidRequest(f"names must be strings, not {type(names).__name__}: {names!r}")
    if not pairs:
        raise InvalidRequest("no name given: name at least one thing to lock")
    if len(pairs) > MAX_NAMES:
        raise InvalidRequest(f"{len(pairs)} names in one request, {MAX_NAMES} is the most")
    return {name: _checked_mode(pairs[name]) for name in sorted(pairs, key=_checked_name)}


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidRequest(f"a name must be a string, not {type(name).__name__}: {name!r}")
    if not name:
        raise InvalidRequest("a name must not be empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the name {name!r} isn't valid Unicode: {error.reason}") from error
    if size > MAX_NAME_BYTES:
        raise InvalidRequest(f"the name {name[:20]!r}... has {size} bytes, {MAX_NAME_BYTES} is the most")
    return name


def _checked_mode(mode: object) -> LockMode:
    if isinstance(mode, LockMode):
        return mode
    raise InvalidRequest(f"unknown mode {mode!r}: use {', '.join(map(str, LockMode))}")


def seconds(what: str, value: object, *, positive: bool = False) -> float:
    """`value` as a number of seconds, up to a year.

    Raises:
        InvalidRequest: Not a number, negative (or zero where `positive`), or more than a year.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{what} must be a number of seconds, not {value!r}")
    if math.isnan(value) or value < 0 or value > MAX_SECONDS or (positive and value < 0.001):
        least = "0.001" if positive else "0"
        raise InvalidRequest(f"{what}={value!r} is out of range: {least} to {MAX_SECONDS:.0f} seconds")
    return float(value)


def optional_seconds(what: str, value: object, *, positive: bool = False) -> float | None:
    """Like `seconds`, with None for "without end"."""
    return None if value is None else seconds(what, value, positive=positive)


def moment(what: str, value: object) -> float:
    """`value` as seconds since 1970.

    Raises:
        InvalidRequest: Not a number, or not within 1970 to 2200.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 230 * MAX_SECONDS:
        raise InvalidRequest(f"{what} must be seconds since 1970, not {value!r}")
    return float(value)


def text(what: str, value: object, most: int = 1000) -> str:
    """`value` if it is a string of at most `most` characters that every store can keep.

    Raises:
        InvalidRequest: Anything else.
    """
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise InvalidRequest(f"{what} must be a string of at most {most} characters without NUL, not {value!r:.60}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{what} isn't valid Unicode: {error.reason}") from error
    return value


def word(what: str, value: object) -> str:
    """`value` if it is letters, digits and underscores, 1 to 40 of them.

    Raises:
        InvalidRequest: Anything else.
    """
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,40}", value):
        raise InvalidRequest(f"{what} must be 1 to 40 letters, digits and underscores, not {value!r:.60}")
    return value


def level(priority: object) -> int:
    """`priority` if it is an integer; beyond what stores can tell apart it counts as `MAX_PRIORITY`, either way.

    Raises:
        InvalidRequest: Anything else.
    """
    return max(-MAX_PRIORITY, min(whole("priority", priority), MAX_PRIORITY))


def whole(what: str, value: object) -> int:
    """`value` if it is an integer, as large as it likes.

    Raises:
        InvalidRequest: Anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{what} must be an integer, not {value!r}")
    return value
