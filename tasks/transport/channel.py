"""The channel: where kombu's calls meet the scripts. What it needs to consume is here, the rest in `producing`."""

import logging
from collections.abc import Sequence
from functools import cached_property
from time import monotonic
from typing import Any, ClassVar

from redis.exceptions import NoScriptError

from tasks.transport.claims import Claims
from tasks.transport.consumer import Consumer, bequeath, inherit
from tasks.transport.envelope import Message
from tasks.transport.errors import CONNECTION_LOST
from tasks.transport.kombu_parts import BaseChannel
from tasks.transport.producing import ProducingChannel
from tasks.transport.qos import QoS
from tasks.transport.scripts import ROOT, packed
from tasks.transport.settling import Settlements

logger = logging.getLogger(__name__)

LONGEST_HEARTBEAT = 2.0
"""Seconds; nobody is woken for a task that is due later than this, so an idle consumer looks at least this often."""

SOON = 0.001
"""Seconds by which a look may be late, so that a busy consumer does not set a timer with each claim."""

CLAIM = "CLAIM"
"""The kind of the connection on which claims travel."""


def heartbeat_of(lease: float, wanted: float = 0.0) -> float:
    """Return how many seconds lie between two heartbeats: as many as are wanted, else so few that three may fail."""
    return wanted or min(LONGEST_HEARTBEAT, lease / 4)


class Channel(ProducingChannel):
    """A kombu channel that holds what it was given under a lease, and settles it by script.

    Transport options, times in seconds: `lease` (8) after which a silent consumer is dead, `heartbeat` (0: a quarter of
    the lease, at most 2) between signs of life of an idle one, `restart_grace` (40) after a server's start in which
    nobody is declared dead, `adopt_every` (5) seconds between looks at kombu's own lists, for messages of a stock
    producer (0: never), `max_redeliveries` (5), `reserved_slots` (None: see `kept_for_urgent`) for tasks of
    `reserved_priority` (-20) or a lower number, `max_queued` and `max_parked` (0: any number) tasks with which a queue
    takes no new work.
    """

    QoS = QoS

    client = cached_property(BaseChannel.client.func)  # kombu's own is called at each use, several times a task
    subclient = cached_property(BaseChannel.subclient.func)

    active_queues: Sequence[str] = ()  # kombu's own makes a list at each use

    lease = 8.0
    heartbeat = 0.0
    restart_grace = 40.0
    adopt_every = 5.0
    max_redeliveries = 5
    reserved_slots: int | None = None
    reserved_priority = -20

    from_transport_options: ClassVar[tuple[str, ...]] = (
        *BaseChannel.from_transport_options,
        "lease",
        "heartbeat",
        "restart_grace",
        "adopt_every",
        "max_redeliveries",
        "reserved_slots",
        "reserved_priority",
        "max_queued",
        "max_parked",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heartbeat = heartbeat_of(self.lease, self.heartbeat)
        if not 0 < self.heartbeat <= min(LONGEST_HEARTBEAT, self.lease / 3):
            raise ValueError(
                f"heartbeat={self.heartbeat} does not fit lease={self.lease}: "
                "it must be above 0, at most 2 seconds and at most a third of the lease"
            )
        self.settlements = Settlements(self)
        self.claims = Claims(self)
        self.handlers = {CLAIM: self.claims.read, "LISTEN": self._receive}
        self.identity: Consumer | None = None
        broker = self.connection.client
        self._broker = (broker.hostname, broker.port, broker.virtual_host, self.global_keyprefix)
        self._wake_topic = ""
        self._waking_at = 0.0
        self._unacknowledged: set[str] = set()

    @property
    def consumer(self) -> Consumer:
        """Who this channel is to the broker, from its first use on."""
        if self.identity is None:
            self.identity = inherit(*self._broker)
        return self.identity

    @property
    def has_loop(self) -> bool:
        """Whether an event loop reads for this channel, as in a worker."""
        return self.connection.cycle.loop is not None

    # -- consuming

    def _get(self, queue: str) -> Message:
        return self.claims.get_one(queue)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume `queue`; without acknowledgements (replies) delivering a message settles it."""
        (self._unacknowledged.add if no_ack else self._unacknowledged.discard)(queue)
        self.claims.look_again()
        consuming = super().basic_consume(queue, no_ack, *args, **kwargs)
        self._count_queues()
        return consuming

    def _count_queues(self) -> None:
        self.active_queues = BaseChannel.active_queues.fget(self)

    def stock_lists(self) -> list[tuple[str, str]]:
        """Name the lists into which stock kombu would put messages for the consumed queues, each with its queue."""
        steps = [(queue, step) for queue in self.active_queues for step in self.priority_steps]
        return [(f"{self.global_keyprefix}{self._q_for_pri(queue, step)}", queue) for queue, step in steps]

    @property
    def claiming(self) -> bool:
        """True while a claim is under way on a living connection; kombu renews no credentials meanwhile."""
        return bool(self._in_poll) and self._in_poll._sock is not None  # noqa: SLF001 - as kombu

    def send_claim(self, *command: Any) -> None:
        """Send a claim without waiting for its answer."""
        connection = self.client.connection
        self._in_poll = connection
        connection.send_packed_command([packed(command)])

    def forget_claim(self) -> None:
        """Expect no answer any more: the connection that was to bring it is gone."""
        self._in_poll = None

    def read_claim(self) -> list[Any] | None:
        """Read the answer to the claim under way; None when the server had forgotten its scripts, and did nothing."""
        connection = self.client.connection
        try:
            answer: list[Any] = connection.read_response()
        except CONNECTION_LOST:
            connection.disconnect()
            raise
        except NoScriptError:
            connection.disconnect()  # the greeting on the next connection loads them
            return None
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        return answer

    def deliver(self, message: Message, queue: str) -> bool:
        """Hand a message to its consumer; False when nobody consumes `queue` here any more."""
        callback = self.connection._callbacks.get(queue)  # noqa: SLF001 - kombu has no public way
        if callback is None:
            return False
        if queue in self._unacknowledged:
            self.consumer.finish(message["properties"]["delivery_tag"])
        callback(message)
        return True

    def on_settled(self) -> None:
        """Tell the broker at once what was settled, unless an event loop is about to."""
        if self.identity is not None and self.connection is not None and not self.has_loop:
            self.settlements.settle()

    def wake_up_at(self, moment: float) -> None:
        """Make the event loop look at this channel again at `moment`, on the monotonic clock."""
        loop, now = self.connection.cycle.loop, monotonic()
        set_already = now < self._waking_at and 0 <= self._waking_at - moment < SOON
        if loop is not None and moment - now < self.heartbeat and not set_already:
            self._waking_at = max(moment, now + SOON)
            loop.call_later(self._waking_at - now, lambda: None)  # a timer is all it takes to end the loop's sleep

    # -- waking up: one more topic on the connection that listens for broadcasts

    def _subscribe(self) -> None:
        super()._subscribe()
        if self.active_queues:
            listener = self.subclient
            if listener.connection._sock is None:  # noqa: SLF001 - as kombu
                listener.connection.connect()
            self._in_listen = listener.connection
            self._wake_topic = f"{ROOT}wake:{self.consumer.id}"
            listener.subscribe(self._wake_topic)

    def listen_anew(self) -> None:
        """Subscribe at the next opportunity when the wake-up topic is another one: a new incarnation has a new one."""
        if self._wake_topic != f"{ROOT}wake:{self.consumer.id}":
            self._in_listen = None

    def _handle_message(self, client: Any, r: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._handle_message(client, r)
        topic = payload["channel"]
        if (topic.decode() if isinstance(topic, bytes) else topic) == self._wake_topic:
            self.claims.look_again()
            payload["data"] = None  # a hint has no content
        return payload

    # -- leaving

    def basic_cancel(self, consumer_tag: str) -> Any:
        """Stop consuming a queue; its wake-ups are for others from now on."""
        queue = self._tag_to_queue.get(consumer_tag)
        if not self.has_loop:
            self.claims.return_last()  # the next consumer of this channel is another one
        cancelled = super().basic_cancel(consumer_tag)
        if queue and not self._closing and queue not in self.active_queues:
            self.call("unlisten", self.consumer.id, queue)
        return cancelled

    def _basic_cancel(self, consumer_tag: str) -> Any:
        cancelled = super()._basic_cancel(consumer_tag)
        self._count_queues()
        return cancelled

    def close(self) -> None:
        """Close in order: what is done is told, what is undone returns to its queue at once."""
        if not self.closed:
            self._closing: bool = True
            try:
                self._say_goodbye()
            except CONNECTION_LOST as error:
                logger.warning("Unfinished tasks of a closing channel return when its lease ends: %s", error)
                self._in_poll = None
        super().close()

    def _say_goodbye(self) -> None:
        if self._qos is not None:
            self._qos.forget()
        if self.identity is None:
            return
        if self.claiming:
            self.claims.accept_last()
        if self.identity.unsettled:
            self.settlements.settle()
        if self.identity.known:
            self.call("leave", self.identity.id)

    def abandon(self) -> None:
        """Let go of a broken connection. What runs goes on, held by the consumer; the next channel settles it."""
        self._closing = self.closed = True
        self._in_poll = None
        if self._qos is not None:
            self._qos.forget()
        if self.identity is not None:
            self.claims.forget()
            bequeath(self.identity, *self._broker)
        self.connection.cycle.discard(self)
        self._disconnect_pools()
        self._close_clients()
