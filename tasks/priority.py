"""How urgent a task is: the lower number goes first."""

from bisect import bisect_left
from enum import IntEnum

from tasks.errors import InvalidPriority


class Priority(IntEnum):
    """The usual priorities; any other integer is legal, too."""

    URGENT = -20
    HIGH = -10
    NORMAL = 0
    LOW = 10
    IDLE = 19


#: The stock Redis transport keeps one list a step and serves step 0 first; each level of ``Priority`` has one.
BROKER_STEPS = tuple(range(len(Priority)))
#: A priority belongs to the level that it is nearest to.
_BORDERS = [(low + high) / 2 for low, high in zip(sorted(Priority), sorted(Priority)[1:], strict=False)]


def validated(task: str, priority: object) -> int:
    """Return the priority as an integer.

    Args:
        task: name of the task that is sent, for the error's text.
        priority: what the caller passed.

    Raises:
        InvalidPriority: it is not an integer; a bool is not one either.
    """
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise InvalidPriority(task, priority)
    return int(priority)


def broker_step(priority: int) -> int:
    """Return the broker's step for a priority, 0 (served first) to 4."""
    return bisect_left(_BORDERS, priority)
