"""How a channel asks the broker for work: one script at a time, sent ahead, its answer read by the event loop."""

import logging
from collections.abc import Callable, Sequence
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any

from tasks.transport.consumer import Consumer, Holding
from tasks.transport.envelope import Delivery
from tasks.transport.errors import CONNECTION_LOST
from tasks.transport.records import ClaimAnswer, News
from tasks.transport.scripts import load, script

if TYPE_CHECKING:
    from tasks.transport.channel import Channel

logger = logging.getLogger(__name__)

UNLIMITED = 32
"""Tasks asked for at a time by a consumer that sets no prefetch count."""

ADOPTED_AT_ONCE = 500

RESERVING_FROM = 4
"""Slots from which on a worker keeps one for urgent tasks, unless it is told otherwise."""


def kept_for_urgent(configured: int | None, slots: int) -> int:
    """Return how many of a worker's slots only urgent tasks get: what is configured, else one of four or more."""
    return (1 if slots >= RESERVING_FROM else 0) if configured is None else configured


class Claims:
    """The questions of one channel to the broker, and what their answers bring.

    The channel is *idle* when the broker had less to give than was asked for: then the broker wakes it, and it
    asks by itself only every `heartbeat` seconds. Such a claim renews the lease, and it brings the news.

    Attributes:
        slots: how many tasks could start now. Defaults to None: as many as the prefetch count allows.
        size: how many tasks run at once. Defaults to None: unknown, so that no slot is kept for urgent tasks unless
            the channel says how many.
    """

    def __init__(self, channel: "Channel") -> None:
        self.channel = channel
        self.slots: Callable[[], int] | None = None
        self.size: Callable[[], int] | None = None
        self._idle = False
        self._registered = False
        self._look_at = 0.0
        self._beat_at = 0.0
        self._sent_at = 0.0
        self._news: News | None = None
        self._news_at = 0.0
        self._adopted_at = 0.0
        self._number = 0
        self._telling: list[Holding] = []

    @property
    def consumer(self) -> Consumer:
        """The identity of this process on the broker."""
        return self.channel.consumer

    @property
    def news(self) -> News | None:
        """What the last heartbeat brought; None when that is longer than a lease ago."""
        return self._news if monotonic() - self._news_at < self.channel.lease else None

    # -- when to ask

    def resume(self) -> None:
        """Greet the broker on a new connection: keep what runs, return what was lost on the way."""
        load(self.channel.client, "claim")
        self.forget()
        self.channel.settlements.resume()

    def forget(self) -> None:
        """Expect nothing from the broken connection: what was told on it is told again."""
        self.consumer.untake(self._telling)
        self._telling = []
        self._idle = self._registered = False
        self._beat_at = 0.0

    def look_again(self) -> None:
        """Ask at the next opportunity, whatever the broker said last."""
        self._idle = False
        self._look_at = 0.0

    def beat(self) -> None:
        """Let the loop ask when it is time; drop a connection that never answers."""
        waited = monotonic() - self._sent_at
        if self.channel.claiming and waited > self.channel.lease:
            logger.warning("The broker has not answered for %.0f s; reconnecting.", waited)
            self.channel.client.connection.disconnect()
        else:
            self.channel.wake_up_at(self._look_at)

    def adopt(self) -> None:
        """Take over messages that a stock producer left in kombu's lists, now and then."""
        channel = self.channel
        if channel.adopt_every and monotonic() - self._adopted_at >= channel.adopt_every:
            self._adopted_at = monotonic()
            lists = channel.stock_lists()
            channel.call("adopt", len(lists), *(part for pair in lists for part in pair), ADOPTED_AT_ONCE)

    @property
    def patience(self) -> float:
        """Seconds for which nothing has to be asked."""
        return min(self.channel.heartbeat, max(self._look_at - monotonic(), 0.001))

    # -- asking

    def maybe_send(self, queues: Sequence[str]) -> None:
        """Send a claim on `queues` when there is something to settle, to ask for, or to renew."""
        self.channel.settlements.settle_refused()
        due = self.consumer.unsettled or monotonic() >= self._look_at
        if due or not self._idle:
            free = self._free_slots()
            if due or free:
                self._send(free, queues)

    def _free_slots(self) -> int:
        qos = self.channel.qos
        if not qos.can_consume():
            return 0
        room = qos.can_consume_max_estimate()
        free = UNLIMITED if room is None else room
        if not self.channel.has_loop:
            free = min(free, 1)  # who drains without a loop counts on one delivery a call
        if self.slots is not None:
            return max(min(free, self.slots()), 0)
        # Celery's worker_disable_prefetch replaces can_consume: one free slot is all it vouches for.
        return min(free, 1) if "can_consume" in vars(qos) else free

    def _send(self, free: int, queues: Sequence[str]) -> None:
        self._telling, terms = self.channel.settlements.take()
        self._sent_at = monotonic()
        curious = self._sent_at >= self._beat_at
        if curious:
            self._beat_at = self._sent_at + self.channel.heartbeat
        self._look_at = self._beat_at
        self._number, question = self._question(free, queues, curious=curious)
        self.channel.send_claim("EVALSHA", script("claim").sha, 1, self.channel.root, *terms, *question)

    def _question(self, free: int, queues: Sequence[str], *, curious: bool) -> tuple[int, list[Any]]:
        """Return the number of a claim and its second half, which asks for tasks."""
        number, channel = self.consumer.number_claim(), self.channel
        registered = "1" if self._registered else "0"
        reserved = kept_for_urgent(channel.reserved_slots, self.size() if self.size else 0)
        return number, [number, free, reserved, channel.reserved_priority, registered, int(curious), *queues]

    def get_one(self, queue: str) -> dict[str, Any]:
        """Claim one task of `queue` at once.

        Raises:
            Empty: there is none.
        """
        asked_as = self.consumer.id
        found = self._claim_one(queue)
        if not found and self.consumer.id != asked_as:  # the answer was that its lease is gone, and nothing else
            found = self._claim_one(queue)
        if not found:
            raise Empty
        tag, delivery = found[0]
        return delivery.message(tag)

    def _claim_one(self, queue: str) -> list[tuple[str, Delivery]]:
        finished, terms = self.channel.settlements.take()
        number, question = self._question(1, [queue], curious=False)
        try:
            answer = self.channel.call("claim", *terms, *question)
        except CONNECTION_LOST:
            self.consumer.untake(finished)
            raise
        found = self._accept(answer, number)
        self.look_again()
        return found

    # -- reading

    def read(self) -> bool:
        """Read the answer and deliver what it brings.

        Raises:
            Empty: it brings nothing.
        """
        deliveries = self.accept_last()
        if monotonic() - self._sent_at > self.channel.lease and not self._still_ours(deliveries):
            raise Empty
        while deliveries:
            self._deliver(*deliveries.pop(0))
            if not deliveries:
                return True
        raise Empty

    def return_last(self) -> None:
        """Give back what the claim under way brings, unserved: whoever asked for it has gone."""
        if self.channel.claiming:
            self.channel.settlements.release([tag for tag, _ in self.accept_last()])

    def accept_last(self) -> list[tuple[str, Delivery]]:
        """Read the answer under way; returns what it brings, held already, with its tags."""
        answer = self.channel.read_claim()
        if answer is None:
            self.forget()
            return []
        self._telling = []
        return self._accept(answer, self._number)

    def _accept(self, raw: list[Any], number: int) -> list[tuple[str, Delivery]]:
        answer = ClaimAnswer.read(raw)
        if answer is None:
            self.channel.settlements.lapse()
            return []
        self.channel.settlements.renewed(answer.buried, answer.died)
        if answer.news:
            self._news, self._news_at = answer.news, self._sent_at
        self._idle = self._registered = answer.idle
        if answer.next_due is not None:
            self._look_at = min(self._look_at, monotonic() + answer.next_due)
        self.channel.wake_up_at(self._look_at)
        return [(self.consumer.hold(one.queue, one.member, number), one) for one in answer.given]

    def _still_ours(self, deliveries: list[tuple[str, Delivery]]) -> bool:
        """A process that slept with an answer in its socket may have lost its lease: ask before anything starts."""
        return self.channel.settlements.reconcile(self.consumer.held[tag] for tag, _ in deliveries)

    def _deliver(self, tag: str, delivery: Delivery) -> None:
        """Deliver one task. One that cannot be read or handed over becomes a dead letter, and work goes on."""
        try:
            message = delivery.message(tag)
            if not self.channel.deliver(message, delivery.queue):
                self.channel.settlements.release([tag])
        except CONNECTION_LOST:
            raise
        except Exception as error:  # whatever a message provokes, it must not end the worker
            logger.exception("Task %s of queue %s cannot be delivered.", delivery.task_id, delivery.queue)
            self.channel.settlements.bury(tag, f"{type(error).__name__}: {error}")
            self.channel.qos.drop(tag)
