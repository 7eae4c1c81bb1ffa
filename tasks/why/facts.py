"""What is gathered before it is judged: plain values, each from one bounded look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from locking import Holder, LockMode, Waiter
from tasks.inventory import Node, Subcloud
from tasks.transport import DeadLetter, HeldTask, ListedTask, Look


@dataclass(frozen=True)
class LockFacts:
    """One lock: who holds it, and who waits, in order."""

    name: str
    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]


@dataclass(frozen=True)
class WorkerFacts:
    """One worker, as it told of itself, and what it has by the queues' own books.

    Attributes:
        stage: where it stands in its life: running, draining, drained, stopping or lost.
        consumes: whether it consumes the queue that was looked at, or would if it worked.
        held: how many tasks it has; `tasks` are some of them.
        silent: seconds since it was last heard of.
    """

    name: str
    stage: str
    consumes: bool
    slots: int
    held: int
    tasks: tuple[HeldTask, ...]
    silent: float

    @property
    def free(self) -> int:
        """How many more tasks it could run."""
        return max(self.slots - self.held, 0)


@dataclass(frozen=True)
class QueueFacts:
    """A queue, and the workers that could take from it."""

    look: Look
    workers: tuple[WorkerFacts, ...]
    reserved_slots: int | None


@dataclass(frozen=True)
class TaskFacts:
    """A living task.

    Attributes:
        locks: those that it takes; none when it is no action, or nobody can read it.
        mode: in which mode the action takes them; None when its code is not loaded here.
        told: what it last told of itself: Celery's state and what belongs to it.
    """

    task: ListedTask
    queue: QueueFacts
    locks: tuple[LockFacts, ...]
    mode: LockMode | None
    told: Mapping[str, Any]
    time_limit: float


@dataclass(frozen=True)
class EndedFacts:
    """A task that lives no more: its dead letter, or what is kept as its result."""

    id: str
    letter: DeadLetter | None
    told: Mapping[str, Any]


@dataclass(frozen=True)
class NodeFacts:
    """A node, its lock, and the tasks for it that were found in the queues.

    Attributes:
        running: those that run.
        first: the one that starts first of those that wait.
        others: the others that wait, in the order of their start.
        complete: False when its queue was too long to be looked through.
    """

    node: Node
    lock: LockFacts
    running: tuple[TaskFacts, ...]
    first: TaskFacts | None
    others: tuple[ListedTask, ...]
    complete: bool


@dataclass(frozen=True)
class SubcloudFacts:
    """A subcloud, its lock, the message of its sync, and the queue that this goes through.

    Attributes:
        now: the time by the database's clock, which the row's times are by.
    """

    subcloud: Subcloud
    now: float
    lock: LockFacts
    message: TaskFacts | None
    queue: QueueFacts
