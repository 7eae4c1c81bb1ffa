"""A producer that knows what it has declared, and copies nothing when it gets another connection."""

from typing import Any

from kombu.connection import is_connection
from kombu.utils.functional import ChannelPromise

from tasks.transport.kombu_parts import BaseProducer


class Producer(BaseProducer):  # type: ignore[misc] # see kombu_parts
    """kombu's producer, which would bind a copy of each queue to learn that it was declared before."""

    def maybe_declare(self, entity: Any, retry: bool = False, **retry_policy: Any) -> Any:
        """Declare a queue or an exchange, once a connection."""
        if entity.can_cache_declaration and hash(entity) in self.channel.connection.client.declared_entities:
            return False
        return super().maybe_declare(entity, retry, **retry_policy)

    def revive(self, channel: Any) -> None:
        """Take another connection, or channel; a nameless exchange stays, for it needs no copy bound to each."""
        if self.exchange.name or not is_connection(channel):
            super().revive(channel)
            return
        self.__connection__ = channel
        self._channel = ChannelPromise(lambda: channel.default_channel)
