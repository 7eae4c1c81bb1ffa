"""A worker's life while it consumes: it beats, heeds what operators want, drains, and stops in stages."""

import time
from typing import Any

from celery import bootsteps
from celery.platforms import EX_OK
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.control import control_command

from tasks.queue_ownership import QueueOwnership
from tasks.service import run_hook
from tasks.stopping import StopRequest, Undertaker, can_hand_back, hand_back
from tasks.transport import News
from tasks.transport.worker import QueueStep, free_slots
from tasks.workers import Stage

logger = get_logger(__name__)


class Life(bootsteps.StartStopStep):
    """Boot step of the consumer that leads the worker through its stages, and has others follow the group and the news.

    running -> draining -> drained -> running again, as operators want; and from each of them -> stopping -> the end:
    the worker leaves the ring, takes nothing new, lets its tasks finish until the setting ``drain_limit`` or a second
    request, hands back what is left, and releases what it holds.
    """

    requires = (QueueStep, QueueOwnership)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._worker = consumer.controller
        self._consumer = consumer
        self._timer: Any = None
        self._consumes = False
        self._heard: News | None = None
        self._deadline: float | None = None
        self.request = StopRequest()
        self._undertaker = Undertaker(self._worker, self.request)
        self._worker.life = self
        say_ready = consumer.init_callback

        def ready(consumer: Any) -> None:
            run_hook(self._worker.manager.post_start_hook)
            say_ready(consumer)

        consumer.init_callback = ready

    # -- boot step

    def start(self, consumer: Any) -> None:
        """Take up work on a new connection to the broker."""
        channel = consumer.task_consumer.channel
        if hasattr(channel, "claims"):
            channel.claims.slots = lambda: free_slots(consumer) if self.stage is Stage.RUNNING else 0
            self._worker.presence.consumer_id = lambda: channel.consumer.id
            self._worker.news = lambda: channel.claims.news
            self._undertaker.channel = channel
        self._consumes = True
        self._beat(consumer)
        if consumer.hub:
            consumer.hub.on_tick.update((self._look, self._listen))

    def stop(self, consumer: Any) -> None:
        """Let go of a connection."""
        self._consumes = False
        if self._timer is not None:
            self._timer.cancel()
        if consumer.hub:
            consumer.hub.on_tick.difference_update((self._look, self._listen))

    def shutdown(self, consumer: Any) -> None:
        """All tasks have ended: release what the worker holds, and leave."""
        self._undertaker.stand_down()
        try:
            self._worker.manager.cleanup_host()
        except Exception:
            logger.exception("The hook %s.cleanup_host failed; the worker ends all the same", self._worker.manager)
        self._worker.presence.end()

    def on_signal(self) -> None:
        """Ask for a stop, from a signal handler; the second time, for one at once."""
        self.request.insist()
        self._worker.app.drain.begin()  # a task of a solo pool keeps the main loop from doing it
        self._undertaker.expect_the_end(self._worker.app.settings.drain_limit)
        if not self._consumes:  # there is no main loop to lead through the stages
            state.should_stop = EX_OK  # type: ignore[assignment]  # its stubs know None only

    # -- the main loop's side

    @property
    def stage(self) -> Stage:
        """Where the worker stands."""
        stage: Stage = self._worker.presence.stage
        return stage

    def _become(self, stage: Stage) -> None:
        logger.info("The worker is %s now", stage)
        self._worker.presence.stage = stage

    def _beat(self, consumer: Any) -> None:
        pause = 1.0
        try:
            pause = self._worker.presence.beat()
            self._heed()
            self._have_followed()
        finally:  # a lost connection is for the main loop, which reconnects and starts this step again
            self._timer = consumer.timer.call_after(pause, self._beat, (consumer,))

    def _listen(self) -> None:
        """Have followed what the broker has told since the last turn of the main loop."""
        if self._worker.news() is not self._heard:
            self._have_followed()

    def _have_followed(self) -> None:
        self._heard = self._worker.news()
        for step in self._worker.followers:
            step.reconcile(self._consumer)

    def look_at_wishes(self) -> None:
        """Ask at once what is wanted, and publish anew."""
        self._worker.presence.publish()
        self._heed()
        self._worker.presence.beat()

    def _heed(self) -> None:
        """Bring the stage in line with what is wanted."""
        wish, stage = self._worker.presence.wish, self.stage
        if wish == "stop":
            self.request.make()
        elif wish == "drain" and stage is Stage.RUNNING:
            self._drain()
        elif not wish and stage in (Stage.DRAINING, Stage.DRAINED):
            self._work_again()

    def _drain(self, stage: Stage = Stage.DRAINING) -> None:
        self._become(stage)
        self._worker.app.drain.begin()
        for group in self._worker.presence.coordinator.state.groups:
            self._worker.presence.coordinator.drain(group)
        self._look_again()

    def _work_again(self) -> None:
        self._become(Stage.RUNNING)
        self._worker.app.drain.end()
        for group in self._worker.presence.coordinator.state.groups:
            self._worker.presence.coordinator.drain(group, draining=False)
        self._look_again()

    def _look_again(self) -> None:
        if self._undertaker.channel is not None:
            self._undertaker.channel.claims.look_again()

    def _look(self) -> None:
        """See how far the stage has come; called in every turn of the main loop."""
        if self.request.made:
            self._go_on_stopping()
        elif self.stage is Stage.DRAINING and not state.reserved_requests:
            self._become(Stage.DRAINED)

    def _go_on_stopping(self) -> None:
        if self._deadline is None:
            limit = self._worker.app.settings.drain_limit
            logger.info("Stopping: %d tasks have %g s to finish", len(state.reserved_requests), limit)
            self._deadline = time.monotonic() + limit
            self._undertaker.expect_the_end(limit)
            self._worker.timer.call_repeatedly(0.1, int)  # all that a timer has to do is to end the loop's sleep
            self._drain(Stage.STOPPING)
        late = self.request.urgent or time.monotonic() >= self._deadline
        if not state.reserved_requests:
            state.should_stop = EX_OK  # type: ignore[assignment]  # its stubs know None only
        elif late and can_hand_back(self._worker.pool):
            hand_back(self._worker.pool)


@control_command()
def look_at_wishes(panel: Any) -> dict[str, str]:
    """Make a worker look at once what operators want of it, and publish what it is."""
    life = panel.consumer.controller.life
    life.look_at_wishes()
    return {"ok": str(life.stage)}
