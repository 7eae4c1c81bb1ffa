"""A worker's presence among the others: its membership, what it says of itself, and what is wanted of it."""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state

from partitioning import Standing
from tasks.admission import SILENCE
from tasks.drivers import node_drivers, subcloud_drivers
from tasks.queue_ownership import coordinator_of
from tasks.service import InitHost, run_hook
from tasks.settings import Settings
from tasks.transport.worker import blocks_the_loop, slots_of
from tasks.workers import Register, Report, Stage, Wish

logger = get_logger(__name__)

#: The group of all workers.
WORKERS = "workers"
#: Seconds between the events by which monitors know that a worker lives; Celery's own 2 s are more than an idle worker
#: says to all others. `celery worker --heartbeat-interval` wins.
EVENT_HEARTBEAT = 5.0
#: Slots of a worker of weight 1; more give it a larger share of what workers divide.
SLOTS_OF_WEIGHT_ONE = 8


class Presence:
    """What one worker shows of itself to the others, and hears from operators.

    Attributes:
        coordinator: its membership in groups.
        stage: where it stands in its life.
        consumer_id: tells under which id the worker holds tasks.
        wish: what an operator wants of it, by the last answer.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._settings: Settings = worker.app.settings
        self._register = Register(worker.app)
        self._weight = slots_of(worker) / SLOTS_OF_WEIGHT_ONE
        self.coordinator = coordinator_of(self._settings, worker.hostname, self._weight)
        self.stage = Stage.RUNNING
        self.consumer_id: Callable[[], str] = str
        self.wish: Wish = ""
        self._told: Report | None = None
        self._told_at = 0.0
        self._silent = False
        self._ended = threading.Event()

    @property
    def incarnation(self) -> str:
        """Which start of the worker this is."""
        return self.coordinator.state.member.incarnation

    def begin(self) -> None:
        """Become a member and enter the register; waits for the broker, as Celery does."""
        self.coordinator.start(background=False)
        self.coordinator.join_group(WORKERS)
        while self.publish() is False:
            state.maybe_shutdown()
            time.sleep(1.0)
        if blocks_the_loop(self._worker.pool):
            threading.Thread(target=self._beat_on, name="presence", daemon=True).start()

    def _beat_on(self) -> None:
        while not self._ended.wait(self.beat()):
            pass

    def beat(self) -> float:
        """Show that the worker lives, and publish what is due; returns the seconds to the next time."""
        pause = self.coordinator.heartbeat()
        if self._due():
            self.publish()
        return pause

    def _due(self) -> bool:
        return time.monotonic() - self._told_at >= self._settings.capabilities_ttl / 3 or self.report() != self._told

    def publish(self) -> bool:
        """Publish what there is to say, and hear what is wanted; False when the broker did not answer."""
        report = self.report()
        membership = self.coordinator.state.groups.get(WORKERS)
        if membership and membership.standing is Standing.SUPERSEDED:
            return True  # the name is another worker's now
        try:
            self.wish = self._register.sign(report, self._settings.capabilities_ttl)
        except SILENCE as error:
            if not self._silent:
                logger.warning("The register of workers does not answer, and is asked again: %s", error)
            self._silent = True
            return False
        self._told, self._told_at, self._silent = report, time.monotonic(), False
        return True

    def report(self) -> Report:
        """Describe the worker as it is now."""
        worker = self._worker
        return Report(
            name=worker.hostname,
            incarnation=self.incarnation,
            host=socket.gethostname(),
            pid=os.getpid(),
            pool=type(worker.pool).__module__.rpartition(".")[2],
            slots=slots_of(worker),
            weight=self._weight,
            stage=self.stage,
            consumer=self.consumer_id(),
            queues=tuple(sorted(worker.app.amqp.queues.consume_from)),
            node_drivers=tuple(node_drivers.names()),
            subcloud_drivers=tuple(subcloud_drivers.names()),
            capabilities=tuple(worker.manager.capabilities),
        )

    def end(self) -> None:
        """Leave every group and the register; more than once does no harm."""
        if self._ended.is_set():
            return
        self._ended.set()
        self.coordinator.stop()
        try:
            self._register.withdraw(self._worker.hostname, self.incarnation)
        except SILENCE as error:
            logger.warning("The register was not told of the end, and will forget this worker by itself: %s", error)


def _nothing_yet() -> None:
    """The news of a broker that the worker has not heard."""


class EnterFleet(bootsteps.StartStopStep):
    """Boot step of the worker: first it is a member and in the register, then ``pre_start_hook`` runs."""

    requires = (InitHost,)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        worker.presence = None
        worker.followers = []
        worker.news = _nothing_yet
        worker.options["heartbeat_interval"] = worker.options.get("heartbeat_interval") or EVENT_HEARTBEAT

    def start(self, worker: Any) -> None:
        """Enter; a hook that fails takes that back."""
        worker.presence = Presence(worker)
        worker.presence.begin()
        try:
            run_hook(worker.manager.pre_start_hook)
        except BaseException:
            worker.presence.end()
            raise
