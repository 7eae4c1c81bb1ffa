"""How times and parties are put into words."""

from collections import Counter
from collections.abc import Iterable, Sequence

from locking import Holder, Waiter


def span(seconds: float) -> str:
    """A length of time: ``4.2 s``, ``12 min``, ``3 h 5 min``, ``2 d``."""
    if seconds < 120:
        return f"{max(seconds, 0.0):.1f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d"


def who(party: Holder | Waiter) -> str:
    """Who holds or waits, and what for."""
    named = f"task {party.task}" if party.task else f"process {party.pid}"
    return f"{party.purpose or 'somebody'} ({named} on {party.host})"


def listed(names: Iterable[str], most: int = 4) -> str:
    """Some names, and how many more there are."""
    every = list(names)
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


def counted(names: Sequence[str]) -> str:
    """Names with how often each occurs: ``reboot (3), inspect``."""
    return listed(name if times == 1 else f"{name} ({times})" for name, times in Counter(names).most_common())


def number(count: int, what: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def short(task: str) -> str:
    """A task's name without its module."""
    return task.rpartition(".")[2]
