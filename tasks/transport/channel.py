"""The channel: where kombu's calls meet the scripts. Broadcasts stay kombu's own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from redis.exceptions import NoScriptError, ResponseError

from tasks.transport.claims import CONNECTION_LOST, Claims
from tasks.transport.consumer import Consumer, bequeath, inherit
from tasks.transport.envelope import Message, envelope, priority_of
from tasks.transport.errors import refusal
from tasks.transport.kombu_parts import BaseChannel
from tasks.transport.qos import QoS
from tasks.transport.scripts import ROOT, call, load, packed, script

logger = logging.getLogger(__name__)

CLAIM = "CLAIM"
"""The kind of the connection on which claims travel."""


class Channel(BaseChannel):  # type: ignore[misc] # see kombu_parts
    """A kombu channel whose queues are sorted sets.

    Transport options, times in seconds: `lease` (8) after which a silent consumer is dead, `heartbeat` (1) between
    signs of life of an idle one, `restart_grace` (40) after a server's start in which nobody is declared dead,
    `adopt_every` (5) seconds between looks at kombu's own lists, for messages of a stock producer (0: never),
    `max_redeliveries` (5), `reserved_slots` (0) kept for tasks of `reserved_priority` (-20) or a lower number.
    """

    QoS = QoS

    lease = 8.0
    heartbeat = 1.0
    restart_grace = 40.0
    adopt_every = 5.0
    max_redeliveries = 5
    # a peer that vanished without a word must not hold up a producer, or a worker's loop, for ever
    socket_timeout = 5.0
    socket_connect_timeout = 5.0
    socket_keepalive = True
    reserved_slots = 0
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
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._commander: Any = None
        super().__init__(*args, **kwargs)
        if not 0 < self.heartbeat <= min(2.0, self.lease / 3):
            raise ValueError(
                f"heartbeat={self.heartbeat} does not fit lease={self.lease}: "
                "it must be above 0, at most 2 seconds and at most a third of the lease"
            )
        self.claims = Claims(self)
        self.handlers = {CLAIM: self.claims.read, "LISTEN": self._receive}
        self.identity: Consumer | None = None
        broker = self.connection.client
        self._broker = (broker.hostname, broker.port, broker.virtual_host, self.global_keyprefix)
        self._wake_topic = ""
        self._unacknowledged: set[str] = set()

    @property
    def consumer(self) -> Consumer:
        """Who this channel is to the broker, from its first use on."""
        if self.identity is None:
            self.identity = inherit(*self._broker)
        return self.identity

    @property
    def root(self) -> str:
        """What the key names begin with, as the server sees them."""
        return f"{self.global_keyprefix}{ROOT}"

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Yield the one client of this channel; kombu would make a new one each time, which costs more than a call."""
        if client is None and self._commander is None:
            self._commander = self.Client(connection_pool=self.pool, single_connection_client=True)
        yield client or self._commander

    def _disconnect_pools(self) -> None:
        commander, self._commander = self._commander, None
        if commander is not None:
            commander.close()
        super()._disconnect_pools()

    # -- publishing

    def _inplace_augment_message(self, message: Message, exchange: str, routing_key: str) -> None:
        # kombu publishes again with the same properties when a connection breaks: the tag tells the broker so
        tag = message["properties"].get("delivery_tag")
        super()._inplace_augment_message(message, exchange, routing_key)
        if tag:
            message["properties"]["delivery_tag"] = tag

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, str | None]:
        """Leave text alone: JSON in base64 would be a third larger, for nothing."""
        if isinstance(body, str):
            return body, "utf-8"
        encoded: tuple[Any, str | None] = super().encode_body(body, encoding)
        return encoded

    def _get_message_priority(self, message: Message, reverse: bool = False) -> int:
        return -priority_of(message) if reverse else priority_of(message)

    def create_publish_batch(self, max_size: int) -> Any:
        """Buffer publications in one pipeline; the script must be known before, for a pipeline cannot ask back."""
        with self.conn_or_acquire() as client:
            load(client, "publish")
        return super().create_publish_batch(max_size)

    def _put(self, queue: str, message: Message, **kwargs: Any) -> None:
        batch = kwargs.pop("_publish_batch", None)
        to_named_exchange = bool(message["properties"]["delivery_info"].get("exchange"))
        arguments = ("0", "0" if to_named_exchange else "1", *envelope(queue, message))
        if batch is not None:
            batch.add("evalsha", script("publish").sha, 1, ROOT, *arguments)
            return
        try:
            with self.conn_or_acquire() as client:
                stored = call(client, "publish", *arguments)
        except ResponseError as error:
            raise refusal(error) from None
        if not stored:
            logger.warning("Message for queue %s is dropped: the queue was deleted.", queue)

    # -- queues

    def _new_queue(self, queue: str, auto_delete: bool = False, **kwargs: Any) -> None:
        super()._new_queue(queue, auto_delete=auto_delete, **kwargs)
        with self.conn_or_acquire() as client:
            call(client, "declare", queue, self._expires.get(queue, ""))

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        with self.conn_or_acquire() as client:
            return bool(call(client, "known", queue))

    def _size(self, queue: str) -> int:
        with self.conn_or_acquire() as client:
            return int(call(client, "size", queue))

    def _purge(self, queue: str) -> int:
        with self.conn_or_acquire() as client:
            return int(call(client, "purge", queue))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> None:
        """Delete a queue, also one that this connection never bound."""
        super().queue_delete(queue, if_unused=if_unused, if_empty=if_empty, **kwargs)
        if not (if_empty and self._size(queue)) and queue not in self._fanout_queues:
            with self.conn_or_acquire() as client:
                call(client, "delete", queue)

    def _maybe_update_queues_expire(self, client: Any, queue: str) -> None:
        """Nothing to do: publishing renews the lifetime of a queue that has one."""

    # -- consuming

    def _get(self, queue: str) -> Message:
        return self.claims.get_one(queue)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume `queue`; without acknowledgements (replies) delivering a message settles it."""
        (self._unacknowledged.add if no_ack else self._unacknowledged.discard)(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def stock_lists(self) -> list[tuple[str, str]]:
        """Name the lists into which stock kombu would put messages for the consumed queues, each with its queue."""
        steps = [(queue, step) for queue in self.active_queues for step in self.priority_steps]
        return [(f"{self.global_keyprefix}{self._q_for_pri(queue, step)}", queue) for queue, step in steps]

    @property
    def claiming(self) -> bool:
        """True while a claim is under way. The field is kombu's, whose re-authentication respects it."""
        return bool(self._in_poll)

    def send_claim(self, *command: Any) -> None:
        """Send a claim without waiting for its answer."""
        connection = self.client.connection
        self._in_poll = connection
        connection.send_packed_command([packed(command)])

    def forget_claim(self) -> None:
        """Expect no answer any more: the connection that was to bring it is gone."""
        self._in_poll = None

    def read_claim(self) -> list[Any]:
        """Read the answer to the claim under way."""
        connection = self.client.connection
        try:
            answer: list[Any] = self.client.parse_response(connection, "EVALSHA")
        except CONNECTION_LOST:
            connection.disconnect()
            raise
        except NoScriptError:
            # the server forgot its scripts: what the claim was to tell is told by the next greeting
            connection.disconnect()
            return [b"ok", b"0", b"-1", [], []]
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
        if self.identity is not None and self.connection is not None and self.connection.cycle.loop is None:
            self.claims.settle()

    def wake_up_in(self, seconds: float) -> None:
        """Make the event loop look at this channel again in so many seconds."""
        loop = self.connection.cycle.loop
        if loop is not None and seconds < self.heartbeat:
            loop.call_later(max(seconds, 0.001), lambda: None)  # a timer is all it takes to end the loop's sleep

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
        cancelled = super().basic_cancel(consumer_tag)
        if queue and not self._closing and queue not in self.active_queues:
            with self.conn_or_acquire() as client:
                call(client, "unlisten", self.consumer.id, queue)
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
            self.claims.settle()
        if self.identity.known:
            with self.conn_or_acquire() as client:
                call(client, "leave", self.identity.id)

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
