"""The Celery router that sends each subcloud's initial sync to the queue that the ring gives it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from partitioning.errors import InvalidRing, UnroutableTask
from partitioning.hash_ring import HashRing

#: What the dedicated queues are called: ``initial-sync.000`` and so on.
QUEUE_PREFIX_DEFAULT = "initial-sync"

Route = Mapping[str, Any] | None
Router = Callable[..., Route]


def initial_sync_queues(partitions: int, prefix: str = QUEUE_PREFIX_DEFAULT) -> tuple[str, ...]:
    """Return the names of the dedicated queues, in order.

    Args:
        partitions: how many queues there are, at least 1.
        prefix: what their names begin with. Defaults to ``initial-sync``.

    Raises:
        InvalidRing: there would be no queue.
    """
    if partitions < 1:
        raise InvalidRing(f"initial syncs need at least 1 queue, got {partitions}")
    # The width never depends on how many there are: another number of queues must not rename those that stay.
    return tuple(f"{prefix}.{number:03d}" for number in range(partitions))


def initial_sync_router(task: str | Collection[str], partitions: int, prefix: str = QUEUE_PREFIX_DEFAULT) -> Router:
    """Build the router: a pure function of its arguments, so that a producer looks nothing up.

    The router answers for tasks whose first argument (or ``subcloud`` keyword) is the subcloud's name, and leaves
    every other task to the routes after it.

    Args:
        task: the registered name of the initial-sync task, or of several tasks that go the same way.
        partitions: how many dedicated queues there are, at least 1.
        prefix: what their names begin with. Defaults to ``initial-sync``.

    Raises:
        InvalidRing: there would be no queue.
    """
    ring = HashRing(initial_sync_queues(partitions, prefix))
    tasks = frozenset((task,) if isinstance(task, str) else task)

    def route(
        name: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any], **_: Any
    ) -> Route:
        if name not in tasks:
            return None
        subcloud = args[0] if args else (kwargs or {}).get("subcloud")
        if not isinstance(subcloud, str):
            raise UnroutableTask(name)
        return {"queue": ring.get_node(subcloud)}

    return route
