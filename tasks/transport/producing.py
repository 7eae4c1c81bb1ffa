"""The producing half of a channel: publishing into sorted-set queues; declaring, counting and deleting them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from kombu.utils.uuid import uuid
from redis.exceptions import ResponseError

from tasks.transport.envelope import Message, encode, envelope, priority_of
from tasks.transport.errors import CONNECTION_LOST, refusal
from tasks.transport.kombu_parts import BaseChannel
from tasks.transport.records import Announcement, NewTask
from tasks.transport.scripts import ROOT, call, load, script

logger = logging.getLogger(__name__)


class ProducingChannel(BaseChannel):  # type: ignore[misc] # see kombu_parts
    """A kombu channel whose queues are sorted sets; broadcasts stay kombu's own."""

    # a peer that vanished without a word must not hold up a producer, or a worker's loop, for ever
    socket_timeout = 5.0
    socket_connect_timeout = 5.0
    socket_keepalive = True
    max_queued = 0
    max_parked = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._commander: Any = None
        self._publisher = uuid()
        self._publications = count(1)
        super().__init__(*args, **kwargs)

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

    def call(self, verb: str, *arguments: Any) -> Any:
        """Run the script `verb` on this channel's broker, and return its raw answer."""
        with self.conn_or_acquire() as client:
            return call(client, verb, *arguments, root=self.root)

    def drop_stale(self) -> None:
        """Let go of a connection that the server closed while nobody used it; the next call makes it anew."""
        connection = self._commander.connection if self._commander is not None else None
        if connection is None:
            return
        try:
            stale = connection.can_read()
        except CONNECTION_LOST:
            stale = True
        if stale:
            connection.disconnect()

    def _disconnect_pools(self) -> None:
        commander, self._commander = self._commander, None
        if commander is not None:
            commander.close()
        super()._disconnect_pools()

    # -- publishing

    def _next_delivery_tag(self) -> str:
        return f"{self._publisher}.{next(self._publications)}"

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
        create = "0" if to_named_exchange else "1"
        arguments = (create, *envelope(queue, message), self.max_queued, self.max_parked)
        if batch is None:
            self._store(*arguments)
        else:
            batch.add("evalsha", script("publish").sha, 1, ROOT, *arguments)

    def put(self, task: NewTask, told: Announcement | None = None) -> None:
        """Publish a task that is written already, and tell monitors of it in the same step.

        Raises:
            QueueClosed: the queue is being quiesced.
            QueueFull: the queue takes no new work.
        """
        queue, *rest = task.kind
        event = () if told is None else self._broadcast(told)
        self._store("1", queue, task.id, *rest, task.ordering, task.payload, self.max_queued, self.max_parked, *event)

    def _broadcast(self, told: Announcement) -> tuple[str, ...]:
        exchange, routing_key, message = told
        self._inplace_augment_message(message, exchange, routing_key)
        topics = self._get_publish_topics(exchange, routing_key)
        return encode(message), *(f"{self.global_keyprefix}{topic}" for topic in topics)

    def _store(self, create: str, queue: str, *arguments: Any) -> None:
        try:
            stored = self.call("publish", create, queue, *arguments)
        except ResponseError as error:
            raise refusal(error) from None
        if not stored:
            logger.warning("Message for queue %s is dropped: the queue was deleted.", queue)

    # -- queues

    def _new_queue(self, queue: str, auto_delete: bool = False, **kwargs: Any) -> None:
        super()._new_queue(queue, auto_delete=auto_delete, **kwargs)
        self.call("declare", queue, self._expires.get(queue, ""))

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return bool(self.call("known", queue))

    def _size(self, queue: str) -> int:
        return int(self.call("size", queue))

    def _purge(self, queue: str) -> int:
        return int(self.call("purge", queue))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> None:
        """Delete a queue, also one that this connection never bound."""
        super().queue_delete(queue, if_unused=if_unused, if_empty=if_empty, **kwargs)
        if not (if_empty and self._size(queue)) and queue not in self._fanout_queues:
            self.call("delete", queue)

    def _maybe_update_queues_expire(self, client: Any, queue: str) -> None:
        """Nothing to do: publishing renews the lifetime of a queue that has one."""
