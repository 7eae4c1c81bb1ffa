"""A producer that knows what it has declared, and copies nothing when it gets another connection."""

from collections.abc import Sequence
from typing import Any

from kombu.connection import is_connection
from kombu.utils.functional import ChannelPromise

from tasks.transport.kombu_parts import BaseProducer
from tasks.transport.records import Announcement, NewTask


class Producer(BaseProducer):  # type: ignore[misc] # see kombu_parts
    """kombu's producer, which would bind a copy of each queue to learn that it was declared before."""

    def maybe_declare(self, entity: Any, retry: bool = False, **retry_policy: Any) -> Any:
        """Declare a queue or an exchange, once a connection."""
        if entity.can_cache_declaration and hash(entity) in self.channel.connection.client.declared_entities:
            return False
        return super().maybe_declare(entity, retry, **retry_policy)

    def put(
        self, task: NewTask, entities: Sequence[Any], told: Announcement | None, retry_policy: dict[str, Any] | None
    ) -> None:
        """Publish a task that is written already, as `publish` does one that is not.

        Args:
            task: the message and where it goes.
            entities: what is to be declared before.
            told: what monitors are told of it, if they are.
            retry_policy: kombu's, for when the broker cannot be reached; None to give up at once.

        Raises:
            QueueClosed: the queue is being quiesced.
            QueueFull: the queue takes no new work.
        """

        def put() -> None:
            for entity in entities:
                self.maybe_declare(entity)
            self.channel.put(task, told)

        if retry_policy is not None:
            self.connection.transport_options.update(retry_policy)  # kombu connects by these
            put = self.connection.ensure(self, put, **retry_policy)
        put()

    def revive(self, channel: Any) -> None:
        """Take another connection, or channel; a nameless exchange stays, for it needs no copy bound to each."""
        if self.exchange.name or not is_connection(channel):
            super().revive(channel)
            return
        self.__connection__ = channel
        self._channel = ChannelPromise(lambda: channel.default_channel)
