"""How urgent a task is: the lower number goes first."""

from enum import IntEnum

from tasks.errors import InvalidPriority


class Priority(IntEnum):
    """The usual priorities; any other integer is legal, too."""

    URGENT = -20
    HIGH = -10
    NORMAL = 0
    LOW = 10
    IDLE = 19


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
