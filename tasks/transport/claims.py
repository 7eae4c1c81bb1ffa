"""How a channel asks the broker for work: one script at a time, sent ahead, its answer read by the event loop."""

import logging
from collections.abc import Callable
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis

from tasks.transport.consumer import Consumer, Holding
from tasks.transport.envelope import MICROSECONDS, Delivery
from tasks.transport.errors import DeadLettered
from tasks.transport.scripts import call, load, script

if TYPE_CHECKING:
    from tasks.transport.channel import Channel

logger = logging.getLogger(__name__)

UNLIMITED = 32
"""Tasks asked for at a time by a consumer that sets no prefetch count."""

ADOPTED_AT_ONCE = 500

WORKER_DIED = "its worker died"
"""The reason that ``claim.lua`` gives for what it buries."""

CONNECTION_LOST = (redis.ConnectionError, redis.TimeoutError, OSError)


def _log(death: DeadLettered) -> None:
    logger.error("%s.", death)


class Claims:
    """The conversation of one channel with the broker.

    The channel is *idle* when the broker had less to give than was asked for: then the broker wakes it, and it
    asks by itself only to renew its lease, every `heartbeat` seconds.
    """

    def __init__(self, channel: "Channel") -> None:
        self.channel = channel
        self.slots: Callable[[], int] | None = None
        self.on_buried: Callable[[DeadLettered], None] = _log
        self._idle = False
        self._registered = False
        self._look_at = 0.0
        self._sent_at = 0.0
        self._adopted_at = self._reconciled_at = 0.0
        self._telling: list[Holding] = []

    @property
    def consumer(self) -> Consumer:
        """The identity of this process on the broker."""
        return self.channel.consumer

    # -- the event loop's side

    def resume(self) -> None:
        """Greet the broker on a new connection: keep what runs, return what was lost on the way."""
        load(self.channel.client, "claim")
        self.forget()
        self._reconcile()

    def forget(self) -> None:
        """Expect nothing from the broken connection: what was told on it is told again."""
        self.consumer.untake(self._telling)
        self._telling = []
        self._idle = self._registered = False

    def _reconcile(self) -> None:
        """Renew the lease and return what the broker thinks we hold and we do not, in case an answer was lost."""
        self._reconciled_at = monotonic()
        known = "1" if self.consumer.known else "0"
        lease = round(self.channel.lease * MICROSECONDS)
        with self.channel.conn_or_acquire() as client:
            answer = call(client, "resume", self.consumer.id, known, lease, *self.consumer.members())
        if answer == b"lost":
            self._lease_lost()
        else:
            self.consumer.known = True
            self.consumer.give_up(self.consumer.orphans())

    def look_again(self) -> None:
        """Ask at the next opportunity, whatever the broker said last."""
        self._idle = False
        self._look_at = 0.0

    def beat(self) -> None:
        """Ask when the last question is a heartbeat ago; drop a connection that never answers."""
        waited = monotonic() - self._sent_at
        if self.channel.claiming and waited > self.channel.lease:
            logger.warning("The broker has not answered for %.0f s; reconnecting.", waited)
            self.channel.client.connection.disconnect()
        elif waited >= 0.9 * self.channel.heartbeat:
            self._look_at = 0.0

    def adopt(self) -> None:
        """Take over messages that a stock producer left in kombu's lists, now and then."""
        channel = self.channel
        if channel.adopt_every and monotonic() - self._adopted_at >= channel.adopt_every:
            self._adopted_at = monotonic()
            lists = channel.stock_lists()
            with channel.conn_or_acquire() as client:
                call(client, "adopt", len(lists), *(part for pair in lists for part in pair), ADOPTED_AT_ONCE)

    def keep_alive(self) -> None:
        """Settle and renew from another thread, unless the event loop did so lately."""
        if self.consumer.known and monotonic() - self._sent_at > 2 * self.channel.heartbeat:
            self.settle()

    @property
    def patience(self) -> float:
        """Seconds for which nothing has to be asked."""
        return min(self.channel.heartbeat, max(self._look_at - monotonic(), 0.001))

    def maybe_send(self, queues: list[str]) -> None:
        """Send a claim on `queues` when there is something to settle, to ask for, or to renew."""
        if self.channel.claiming:
            return
        self.settle_refused()
        free = self._free_slots()
        if self.consumer.unsettled or (free and not self._idle) or monotonic() >= self._look_at:
            self._send(free, queues)

    def _free_slots(self) -> int:
        qos = self.channel.qos
        if not qos.can_consume():
            return 0
        room = qos.can_consume_max_estimate()
        free = UNLIMITED if room is None else room
        if self.slots is not None:
            return max(min(free, self.slots()), 0)
        # Celery's worker_disable_prefetch replaces can_consume: one free slot is all it vouches for.
        return min(free, 1) if "can_consume" in vars(qos) else free

    def _arguments(self, free: int, queues: list[str], finished: list[Holding]) -> list[Any]:
        channel = self.channel
        settled = [part for done in finished for part in (done.member, done.queue)]
        return [
            self.consumer.id,
            "1" if self.consumer.known else "0",
            round(channel.lease * MICROSECONDS),
            round(channel.restart_grace * MICROSECONDS),
            channel.max_redeliveries,
            free,
            channel.reserved_slots,
            channel.reserved_priority,
            "1" if self._registered else "0",
            len(finished),
            *settled,
            *queues,
        ]

    def _send(self, free: int, queues: list[str]) -> None:
        self._telling = self.consumer.take_finished()
        arguments = self._arguments(free, queues, self._telling)
        self._sent_at = monotonic()
        self._look_at = self._sent_at + self.channel.heartbeat
        self.channel.send_claim("EVALSHA", script("claim").sha, 1, self.channel.root, *arguments)

    def read(self) -> bool:
        """Read the answer and deliver what it brings.

        Raises:
            Empty: it brings nothing.
        """
        deliveries = self._accept(self.channel.read_claim())
        if monotonic() - self._sent_at > self.channel.lease:
            self._reconcile_late(deliveries)
        while deliveries:
            self._deliver(deliveries.pop(0))
            if not deliveries:
                return True
        raise Empty

    def accept_last(self) -> list[tuple[str, Delivery]]:
        """Read the answer under way, to deliver nothing of it."""
        return self._accept(self.channel.read_claim())

    def _accept(self, answer: list[Any]) -> list[tuple[str, Delivery]]:
        """Take in an answer; returns what to deliver, held already, with its tags."""
        self._telling = []
        if answer[0] == b"lost":
            self._lease_lost()
            return []
        _, idle, next_due, buried, given = answer
        self.consumer.known = True
        self._idle = self._registered = idle == b"1"
        if int(next_due) >= 0:
            self._look_at = min(self._look_at, monotonic() + int(next_due) / MICROSECONDS)
            self.channel.wake_up_in(self._look_at - monotonic())
        self._report(buried, WORKER_DIED)
        return [self._hold(given[i : i + 4]) for i in range(0, len(given), 4)]

    def _hold(self, given: list[bytes]) -> tuple[str, Delivery]:
        queue, member, expired, record = given
        delivery = Delivery(queue.decode(), member.decode(), expired == b"1", record)
        return self.consumer.hold(delivery.queue, delivery.member), delivery

    def _reconcile_late(self, deliveries: list[tuple[str, Delivery]]) -> None:
        """A process that slept with an answer in its socket may have lost its lease: ask before anything starts."""
        before = self.consumer.id
        with self.channel.conn_or_acquire() as client:
            lease = round(self.channel.lease * MICROSECONDS)
            held = [*self.consumer.members(), *(delivery.member for _, delivery in deliveries)]
            if call(client, "resume", before, "1", lease, *held) == b"lost":
                self._lease_lost()
                deliveries.clear()

    def _deliver(self, tagged: tuple[str, Delivery]) -> None:
        """Deliver one task. One that cannot be read or handed over becomes a dead letter, and work goes on."""
        tag, delivery = tagged
        try:
            message = delivery.message(tag)
            if not self.channel.deliver(message, delivery.queue):
                self.release([tag])
        except CONNECTION_LOST:
            raise
        except Exception as error:  # whatever a message provokes, it must not end the worker
            logger.exception("Task %s of queue %s cannot be delivered.", delivery.task_id, delivery.queue)
            for holding in self.consumer.give_up([tag]):
                self._bury(holding, f"{type(error).__name__}: {error}")
            self.channel.qos.drop(tag)

    # -- settling

    def settle(self) -> None:
        """Tell the broker at once what is done, and renew the lease, on a connection of its own."""
        self.settle_refused()
        finished = self.consumer.take_finished()
        try:
            with self.channel.conn_or_acquire() as client:
                answer = call(client, "claim", *self._arguments(0, [], finished))
        except CONNECTION_LOST:
            self.consumer.untake(finished)
            raise
        if answer[0] == b"lost":
            self._lease_lost()
        else:
            self.consumer.known = True
            self._report(answer[3], WORKER_DIED)

    def settle_refused(self) -> None:
        """Return or bury what was rejected, and return what nobody can settle any more."""
        for holding, requeue in self.consumer.take_refused():
            if requeue:
                self._requeue(
                    [holding], self.channel.max_redeliveries, f"returned too often, lastly: {holding.trouble}"
                )
            else:
                self._bury(holding, holding.trouble)

    def sweep(self) -> None:
        """Once a lease: return tasks that nobody here has any more, dropped with a lost answer or connection."""
        if not self.channel.claiming and monotonic() - self._reconciled_at > self.channel.lease:
            self._reconcile()

    def release(self, tags: list[str]) -> None:
        """Return tasks unserved; that does not count as a redelivery."""
        self._requeue(self.consumer.give_up(tags), "", "")

    def _requeue(self, holdings: list[Holding], limit: int | str, reason: str) -> None:
        if holdings:
            pairs = [part for holding in holdings for part in (holding.member, holding.queue)]
            with self.channel.conn_or_acquire() as client:
                self._report(call(client, "requeue", self.consumer.id, limit, reason, *pairs), reason)

    def _bury(self, holding: Holding, reason: str) -> None:
        with self.channel.conn_or_acquire() as client:
            buried = call(client, "bury", self.consumer.id, reason, holding.member, holding.queue)
        if buried:
            self.on_buried(DeadLettered(holding.task_id, holding.queue, reason, self.consumer.id))

    def get_one(self, queue: str) -> dict[str, Any]:
        """Claim one task of `queue` at once.

        Raises:
            Empty: there is none.
        """
        with self.channel.conn_or_acquire() as client:
            found = self._accept(call(client, "claim", *self._arguments(1, [queue], [])))
        self.look_again()
        if not found:
            raise Empty
        tag, delivery = found[0]
        return delivery.message(tag)

    def _report(self, buried: list[bytes], reason: str) -> None:
        for i in range(0, len(buried), 3):
            queue, task_id, worker = (part.decode() for part in buried[i : i + 3])
            self.on_buried(DeadLettered(task_id, queue, reason, worker))

    def _lease_lost(self) -> None:
        before = self.consumer.id
        lost = self.consumer.lapse()
        self.look_again()
        logger.error(
            "Consumer %s lost its lease of %g s: %d tasks went to other workers and will not be acknowledged here.",
            before, self.channel.lease, lost,
        )  # fmt: skip
