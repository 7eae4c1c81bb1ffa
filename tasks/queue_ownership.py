"""Each worker consumes its share of the dedicated queues, and follows joins and deaths of the others."""

from collections.abc import Mapping
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker.consumer.tasks import Tasks
from kombu import Queue

from partitioning import QUEUE_PREFIX_DEFAULT, PartitionCoordinator, Standing, initial_sync_queues
from tasks.settings import Settings
from tasks.transport import Waiting

logger = get_logger(__name__)

#: The group of the workers that divide the dedicated queues among themselves.
GROUP = "initial-sync"
#: When a task has waited for so many seconds, its queue's worker is busy, or dead.
OVERDUE = 1.0
#: The longest pause in seconds before a silent backend is asked again.
MAX_BACKOFF = 5.0


def coordinator_of(settings: Settings, member: str | None = None, weight: float = 1.0) -> PartitionCoordinator:
    """Return a coordinator of the workers' groups, not started yet; only a worker is a member."""
    return PartitionCoordinator(
        settings.broker_url, member, lease=settings.member_lease, max_backoff=MAX_BACKOFF, weight=weight
    )


class QueueOwnership(bootsteps.StartStopStep):
    """Boot step of the consumer: a member of the group that consumes what the ring gives it.

    Whoever beats (`tasks.life`) has it follow the group and the broker's news in the worker's main loop, so that a
    worker whose loop is stuck loses its share. While the backend is silent the worker keeps the queues that it has: the
    lock and the claimed row decide who works, the ring only says who should.

    For the same reason a worker may help before the ring says so. It consumes the queues of a worker that missed a
    heartbeat and that it would inherit; those where what a dead worker lost is next; and, when nothing is overdue in
    its own, those of others where something is, until nothing waits there: a ring divides queues, not the work in them.
    """

    requires = (Tasks,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._helped: set[str] = set()

    def include_if(self, consumer: Any) -> bool:
        """True in a worker whose settings make it a member; one that was started with ``-Q`` is none."""
        return getattr(consumer.controller, "divides_initial_syncs", False)

    def start(self, consumer: Any) -> None:
        """Join the group, once a process, and follow it, anew with each connection to the broker."""
        consumer.controller.presence.coordinator.join_group(GROUP)
        if self not in consumer.controller.followers:
            consumer.controller.followers.append(self)

    def reconcile(self, consumer: Any) -> None:
        """Consume what the ring gives this worker by the last heartbeat, and what else it helps with."""
        news = consumer.controller.news()
        waiting = {name: next_ for name, next_ in news.waiting.items() if _is_dedicated(name)} if news else {}
        coordinator = consumer.controller.presence.coordinator
        configured = initial_sync_queues(consumer.app.settings.initial_sync_queues)
        everything = (*configured, *sorted(waiting.keys() - set(configured)))  # another number of queues left those
        wanted = coordinator.my_share(GROUP, everything)
        if wanted is None:
            return
        helped = set(coordinator.my_inheritance(GROUP, everything))
        if coordinator.state.groups[GROUP].standing is Standing.ACTIVE:
            helped |= _overdue(waiting, set(wanted), self._helped)
        consumed = _consumed(consumer)
        given_up = sorted(consumed.difference(wanted, helped))
        taken = sorted(helped.union(wanted) - consumed)
        _cancel(consumer, given_up)
        if taken:
            _consume(consumer, taken)
        if taken or given_up:
            logger.info(
                "Consuming %d dedicated queues at epoch %s, and %d of busy or silent workers: %d taken, %d given up",
                len(wanted), wanted.epoch, len(helped), len(taken), len(given_up),
            )  # fmt: skip
        self._helped = helped


def _overdue(occupied: Mapping[str, Waiting | None], own: set[str], before: set[str]) -> set[str]:
    """In which queues of others a worker helps: where a dead worker's task is next, or one is overdue.

    For the latter it must have none in its own queues.

    Args:
        occupied: how the next task waits of each dedicated queue in which tasks live.
        own: the queues that the ring gives it.
        before: what it helped with until now, which it goes on with while anything waits there.
    """
    waiting = {name: task for name, task in occupied.items() if task}
    others = {name: task for name, task in waiting.items() if name not in own}
    lost = {name for name, task in others.items() if task.lost_before}
    if any(name in own and task.seconds >= OVERDUE for name, task in waiting.items()):
        return lost
    return lost | {name for name, task in others.items() if task.seconds >= OVERDUE or name in before}


def _is_dedicated(name: str) -> bool:
    return name.startswith(f"{QUEUE_PREFIX_DEFAULT}.")


def _consumed(consumer: Any) -> set[str]:
    """Which dedicated queues the worker consumes; after a reconnect these are the ones from before."""
    tasks = consumer.task_consumer
    return {queue.name for queue in tasks.queues if _is_dedicated(queue.name) and tasks.consuming_from(queue.name)}


def _consume(consumer: Any, names: list[str]) -> None:
    tasks, queues = consumer.task_consumer, consumer.app.amqp.queues
    for name in names:
        tasks.add_queue(queues.select_add(queues[name] if name in queues else Queue(name, routing_key=name)))
    tasks.consume()


def _cancel(consumer: Any, names: list[str]) -> None:
    consumer.app.amqp.queues.deselect(names)
    for name in names:
        consumer.task_consumer.cancel_by_queue(name)
