"""What a coordinator can say of itself, and how it judges its backend."""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from partitioning.errors import GroupBackendError
from partitioning.group import Candidate, Standing

logger = logging.getLogger(__name__)


class BackendState(StrEnum):
    """What is known of the place that keeps the groups."""

    NONE = "none"
    """There is none: this process is the only one, and owns all."""
    STOPPED = "stopped"
    """The coordinator was not started, or was stopped."""
    CONNECTING = "connecting"
    """It has not been asked yet."""
    UP = "up"
    """It answered the last call."""
    DOWN = "down"
    """It did not: nothing is claimed, and contact is sought with growing pauses."""


@dataclass(frozen=True, slots=True)
class GroupState:
    """How this process stands in one group; the epoch and the members are those of the last view."""

    standing: Standing
    epoch: int | None
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CoordinatorState:
    """What a coordinator knows, at one moment; ``error`` says why the backend is down."""

    member: Candidate
    backend: BackendState
    error: str | None
    groups: Mapping[str, GroupState]


class Contact:
    """Whether the backend answers, and how long to wait before it is asked again.

    Args:
        exists: False where there is no backend.
        max_backoff: the longest pause between attempts in seconds.
    """

    def __init__(self, *, exists: bool, max_backoff: float) -> None:
        self.state = BackendState.STOPPED if exists else BackendState.NONE
        self.error: GroupBackendError | None = None
        self._max_backoff = max_backoff
        self._failures = 0

    @property
    def sought(self) -> bool:
        """True between start and stop, where there is a backend."""
        return self.state not in (BackendState.NONE, BackendState.STOPPED)

    def answered(self) -> None:
        """Note an answer."""
        if self.state is not BackendState.UP:
            logger.info("Coordination backend started successfully.")
        self.state, self.error, self._failures = BackendState.UP, None, 0

    def silent(self, error: GroupBackendError) -> None:
        """Note that there was none; only the first of a row is logged."""
        if self.state is BackendState.CONNECTING:
            logger.error("Error connecting to coordination backend. %s", error)
        elif self.state is BackendState.UP:
            logger.error("Error sending a heartbeat to coordination backend. %s", error)
        self.state, self.error = BackendState.DOWN, error
        self._failures += 1

    def backoff(self) -> float:
        """Seconds to the next attempt: 1, 2, 4 and so on to the longest, each less by up to a half by chance."""
        longest: float = min(self._max_backoff, 2.0 ** min(self._failures - 1, 16))
        return longest * (1 - secrets.randbelow(1000) / 2000)
