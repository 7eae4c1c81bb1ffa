"""Brings parked tasks and the requests that wait for their locks back together, whatever crashed in between.

The rule is one: a parked task has a request that waits. One whose request was granted, or lost with a server's memory,
is put back into its queue, where it asks again; its arrival gives it its old place. A request whose task is no more is
taken back. And since nobody is in the requests of parked tasks, somebody has to see to it that the leases of dead
holders end.
"""

import threading
import time
from contextlib import nullcontext
from random import uniform
from typing import Any

from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker.components import Pool

from locking import LockManager
from tasks.parking import PREFIX, forget, let_go, locks_of_tasks, ticket_of
from tasks.transport import NoSuchTask, Queues

logger = get_logger(__name__)

#: So many requests without a parked task are looked at in one pass: mostly these tasks are just about to be parked.
LOOKED_AT = 200
#: Seconds after which a pass is made even where the broker says that nothing is parked: a request may have been left.
ANYWAY_EVERY = 30.0


class Reconciler:
    """The passes of one process; of all processes that are about to make one, one does.

    Args:
        queues: the queues.
        locks: the locks, with a manager that puts tasks back when it hears of grants.
    """

    def __init__(self, queues: Queues, locks: LockManager) -> None:
        self._queues = queues
        self._locks = locks

    def make_pass(self, turn: float) -> None:
        """Look after all parked tasks, unless another process did so within `turn` seconds.

        Costs one script of the broker and one of the locks; what these send grows with the number of parked tasks, and
        from a thousand a second on, passes become rarer.
        """
        parked = self._queues.parked(turn)
        if parked is None:
            return
        tickets = {ticket_of(task_id): task_id for task_id in parked}
        waiting = {ticket for ticket in self._locks.tend() if ticket.startswith(PREFIX)}
        if strays := [task_id for ticket, task_id in tickets.items() if ticket not in waiting]:
            logger.info("putting back %d parked tasks that no request for a lock stands for any more", len(strays))
            self._queues.unpark(*strays)
        self._end_requests_of_the_dead(waiting - tickets.keys())

    def _end_requests_of_the_dead(self, tickets: set[str]) -> None:
        for ticket in sorted(tickets)[:LOOKED_AT]:
            task_id = ticket.removeprefix(PREFIX)
            if ticket == ticket_of(task_id) and not self._lives(task_id):
                logger.info("taking back the request for a lock of task %s, which no longer lives", task_id)
                forget(self._locks, [task_id])

    def _lives(self, task_id: str) -> bool:
        try:
            self._queues.find(task_id)
        except NoSuchTask:
            return False
        return True


class ReconcileParked(bootsteps.StartStopStep):
    """Boot step of the worker: a thread that makes a pass every few seconds while anything is parked.

    It has connections of its own, so that neither a silent broker nor a silent database of locks holds up the worker.
    """

    requires = (Pool,)  # its processes are forked before there is a thread

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._app = worker.app
        self._worker = worker
        self._anyway_at = 0.0

    def start(self, worker: Any) -> None:
        """Start the thread, and hear of tasks that were revoked."""
        signals.task_revoked.connect(self._forget_revoked, weak=False, dispatch_uid="fleetring.parking")
        self._thread = threading.Thread(target=self._run, name="parking", daemon=True)
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """End the thread."""
        signals.task_revoked.disconnect(dispatch_uid="fleetring.parking")
        self._ended.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _forget_revoked(self, sender: Any, request: Any, **_: Any) -> None:
        """A task was put back, with its lock perhaps, and is not to run: it was revoked, or it has expired."""
        if getattr(sender, "on_busy", None) == "park":
            let_go(self._app.runtime, request.id)

    def _run(self) -> None:
        every = self._app.settings.reconcile_every
        while not self._ended.is_set():
            try:
                self._make_passes(every)
            except Exception as error:  # noqa: BLE001 - whatever a server answers, the next pass may do better
                logger.warning("parked tasks are looked after later: %s", error)
                self._ended.wait(every)

    def _make_passes(self, every: float) -> None:
        with self._app.connection_for_write() as connection:
            queues = Queues(connection)
            with locks_of_tasks(self._app.settings.lock_url, lambda: nullcontext(queues)) as locks:
                reconciler = Reconciler(queues, locks)
                while not self._ended.wait(every * uniform(0.9, 1.1)):  # noqa: S311 - spreads load only
                    if self._is_due():
                        reconciler.make_pass(every * 0.85)

    def _is_due(self) -> bool:
        news = self._worker.news()
        due = news is None or news.parking or time.monotonic() >= self._anyway_at
        if due:
            self._anyway_at = time.monotonic() + ANYWAY_EVERY
        return due
