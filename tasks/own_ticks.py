"""Each worker's own schedule: the periodic tasks that every worker runs, and those that divide a set among them."""

from collections.abc import Collection, Iterable
from typing import Any

from celery import bootsteps

from tasks.declaration import Scope
from tasks.periodic import PeriodicTask, own_queue
from tasks.queue_ownership import QueueOwnership
from tasks.settings import EXTERNAL_QUEUE, PERIODIC_QUEUE
from tasks.ticks import Ledger
from tasks.timekeeper import Timekeeper, periodic_tasks
from tasks.workers import Stage

#: After so many seconds without a sign of its loop the worker has to take the lead of its own schedule anew.
LEASE = 15.0
#: The worker looks at its schedule at least this often, in seconds: twice a lease.
LONGEST_PAUSE = 7.0


class OwnTicks(bootsteps.StartStopStep):
    """Boot step of the consumer: claims the worker's own ticks in its main loop, and sends them to its own queue.

    So they take a slot like any other task, are seen by monitors, and are not lost in a reconnect. For the partitioned
    ones the worker is a member of the group of the queue that they would be sent to, if it consumes that. A worker that
    drains sends itself nothing.
    """

    requires = (QueueOwnership,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._timekeeper: Any = None
        self._timer: Any = None

    def include_if(self, consumer: Any) -> bool:
        """True where such a task is declared."""
        return bool(periodic_tasks(consumer.app, (Scope.EACH_WORKER, Scope.PARTITIONED)))

    def start(self, consumer: Any) -> None:
        """Begin, once a process; and go on, with each connection to the broker."""
        if self._timekeeper is None:
            consumed = set(consumer.app.amqp.queues.consume_from)
            self._timekeeper = _timekeeper(consumer, consumed)
            for group in sorted(_groups_of(periodic_tasks(consumer.app, (Scope.PARTITIONED,)).values()) & consumed):
                consumer.controller.presence.coordinator.join_group(group)
        self._consume(consumer)
        self._look(consumer)

    def stop(self, consumer: Any) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def shutdown(self, consumer: Any) -> None:
        """Give the lead up, however the worker ends."""
        if self._timekeeper is not None:
            self._timekeeper.leave()

    def _consume(self, consumer: Any) -> None:
        queue, tasks = own_queue(str(consumer.hostname)), consumer.task_consumer
        if not tasks.consuming_from(queue.name):
            tasks.add_queue(consumer.app.amqp.queues.select_add(queue))
            tasks.consume()
            tasks.channel.claims.look_again()

    def _look(self, consumer: Any) -> None:
        pause = 1.0
        try:
            if consumer.controller.presence.stage is Stage.RUNNING:
                pause = self._timekeeper.look()
            else:
                self._timekeeper.leave()
        finally:  # whatever went wrong is for the main loop to tell, and for the next look to do better
            self._timer = consumer.timer.call_after(pause, self._look, (consumer,))


def _timekeeper(consumer: Any, consumed: Collection[str]) -> Timekeeper:
    worker = str(consumer.hostname)
    return Timekeeper(
        consumer.app,
        Ledger(consumer.app, worker),
        name=f"worker {worker}",
        wanted=lambda task: _belongs_here(task, consumed),
        lease=LEASE,
        longest_pause=LONGEST_PAUSE,
        queue=own_queue(worker),
    )


def _belongs_here(task: PeriodicTask, consumed: Collection[str]) -> bool:
    declared = task.declaration
    return declared.scope is Scope.EACH_WORKER or (declared.scope is Scope.PARTITIONED and declared.queue in consumed)


def _groups_of(tasks: Iterable[PeriodicTask]) -> set[str]:
    """The groups that divide the sets of these tasks; both where only a callable knows which it is."""
    asked = {task.declaration.external_process_ok for task in tasks}
    return {EXTERNAL_QUEUE for option in asked if option is not False} | {
        PERIODIC_QUEUE for option in asked if option is not True
    }
