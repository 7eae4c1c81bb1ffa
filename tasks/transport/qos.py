"""Acknowledging: noted here, told to the broker with the next claim."""

import logging
from typing import TYPE_CHECKING, Any

from tasks.transport.kombu_parts import BaseQoS

if TYPE_CHECKING:
    from tasks.transport.channel import Channel

logger = logging.getLogger(__name__)


class QoS(BaseQoS):  # type: ignore[misc] # see kombu_parts
    """Keeps a channel's deliveries until they are settled; what is no longer ours is not acknowledged."""

    channel: "Channel"

    def append(self, message: Any, delivery_tag: str) -> None:
        """Tie a delivered message to the task that the broker lent us."""
        super().append(message, delivery_tag)
        if self.channel.identity:
            self.channel.identity.attach(delivery_tag, message)

    def ack(self, delivery_tag: str) -> None:
        """Note that a task is done."""
        if self.channel.identity and not self.channel.identity.finish(delivery_tag):
            self._explain(delivery_tag)
        super().ack(delivery_tag)
        self.channel.on_settled()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Note that a task goes back into its queue (it counts as a redelivery), or to the dead letters."""
        if self.channel.identity and not self.channel.identity.refuse(delivery_tag, requeue):
            self._explain(delivery_tag)
        super().ack(delivery_tag)
        self.channel.on_settled()

    def park(self, delivery_tag: str) -> None:
        """Note that a task is set aside until somebody unparks it."""
        if self.channel.identity and not self.channel.identity.park(delivery_tag):
            self._explain(delivery_tag)
        super().ack(delivery_tag)
        self.channel.on_settled()

    def drop(self, delivery_tag: str) -> None:
        """Free the place of a delivery that was settled otherwise."""
        super().ack(delivery_tag)

    def restore_unacked(self) -> None:
        """Return everything undone; that does not count as a redelivery."""
        self._flush()
        tags = list(self._delivered)
        self._delivered.clear()
        self.channel.settlements.release(tags)

    def forget(self) -> None:
        """Let go of all messages without a word to the broker: whoever runs one still holds it."""
        self._on_collect.cancel()
        self._delivered.clear()
        self._dirty.clear()

    def _explain(self, delivery_tag: str) -> None:
        if delivery_tag in self._delivered and delivery_tag.count("/"):
            logger.warning(
                "Delivery %s is not acknowledged: the lease on it was lost, and the task has gone to another worker.",
                delivery_tag,
            )
