"""What is handed out when an initial sync is due."""

from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import ColumnElement, Row, and_, or_

from tasks.inventory.models import Subcloud, SyncFailure

#: After so many attempts in a row that found nobody there, a subcloud counts as dead until one finds it.
DEAD_AFTER = 3
#: So many attempts make a retry even where no failure was the subcloud's own: it may be what kills its workers.
SUSPECT_AFTER = 3
#: Failures that say nothing about the subcloud.
NOT_ITS_FAULT = (SyncFailure.CENTRE, SyncFailure.WORKER_LOST, SyncFailure.WORKER_STUCK)

#: What `SyncTicket.of` reads.
TICKET_COLUMNS = (Subcloud.name, Subcloud.generation, Subcloud.attempts, Subcloud.failure, Subcloud.unreachable)


@dataclass(frozen=True, slots=True)
class SyncTicket:
    """One subcloud that is due, in one generation; this is all that a message needs to carry.

    Attributes:
        name: The subcloud.
        generation: The request that it belongs to.
        attempts: How often a run began for that request.
        retry: Whether it goes behind fresh requests: it failed before, or it is known to be dead.
        taken_over: Whether it goes ahead of them: it had begun, and its worker died.
    """

    name: str
    generation: int
    attempts: int
    retry: bool = False
    taken_over: bool = False

    @classmethod
    def of(cls, row: Row[*tuple[Any, ...]]) -> Self:
        """The ticket of a row that has the `TICKET_COLUMNS`."""
        own_failure = row.failure is not None and row.failure not in NOT_ITS_FAULT
        retry = own_failure or row.unreachable >= DEAD_AFTER or row.attempts >= SUSPECT_AFTER
        taken_over = row.failure == SyncFailure.WORKER_LOST and not retry
        return cls(row.name, row.generation, row.attempts, retry, taken_over)


def is_retry() -> ColumnElement[bool]:
    """The condition under which a row's ticket is a retry."""
    own_failure = and_(Subcloud.failure.is_not(None), Subcloud.failure.not_in(NOT_ITS_FAULT))
    return or_(own_failure, Subcloud.unreachable >= DEAD_AFTER, Subcloud.attempts >= SUSPECT_AFTER)
