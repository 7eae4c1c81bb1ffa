"""The modes of a lock, and which of them get along."""

from enum import Enum


class LockMode(Enum):
    """How a name is held.

    `EXCLUSIVE` is alone on its name. `SHARED` stands beside other sharers, never beside an exclusive holder.
    `OBSERVE` takes nothing: it never waits, never blocks and writes nothing; `Lock.validate` tells later whether an
    exclusive grant came in between.
    """

    EXCLUSIVE = "exclusive"
    SHARED = "shared"
    OBSERVE = "observe"

    @property
    def letter(self) -> str:
        """The mode as the stores write it: `x`, `s` or `o`."""
        return _LETTERS[self]

    @classmethod
    def of_letter(cls, letter: str) -> "LockMode":
        """The mode that a store wrote as `letter`."""
        return _MODES[letter]


_LETTERS = {LockMode.EXCLUSIVE: "x", LockMode.SHARED: "s", LockMode.OBSERVE: "o"}
_MODES = {letter: mode for mode, letter in _LETTERS.items()}

# The conflict matrix. An observer is in no store, so it conflicts with nothing.
CONFLICTS: frozenset[tuple[LockMode, LockMode]] = frozenset(
    {
        (LockMode.EXCLUSIVE, LockMode.EXCLUSIVE),
        (LockMode.EXCLUSIVE, LockMode.SHARED),
        (LockMode.SHARED, LockMode.EXCLUSIVE),
    }
)


def conflict(one: LockMode, other: LockMode) -> bool:
    """Whether two holders of these modes can't stand on one name."""
    return (one, other) in CONFLICTS
