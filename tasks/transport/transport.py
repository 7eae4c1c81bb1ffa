"""The kombu transport for one Redis server."""

from typing import Any

from tasks.transport.channel import Channel, heartbeat_of
from tasks.transport.errors import UnsupportedKombu
from tasks.transport.kombu_parts import KOMBU_VERSION, BaseTransport
from tasks.transport.poller import Poller

KOMBU = (5, 7)
"""The minor version whose private methods the overrides fit."""


class Transport(BaseTransport):  # type: ignore[misc] # see kombu_parts
    """Queues that lose nothing, on the Redis that kombu would use.

    Raises:
        UnsupportedKombu: the installed kombu is not 5.7.
    """

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if KOMBU_VERSION[:2] != KOMBU:
            raise UnsupportedKombu(
                f"kombu {KOMBU_VERSION[0]}.{KOMBU_VERSION[1]} is installed, but this transport overrides private "
                "methods of kombu 5.7: install kombu>=5.7,<5.8, or use a Fleetring made for your kombu"
            )
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let `loop` poll this transport's connections and beat its heart."""
        self.cycle.loop = loop
        super().register_with_event_loop(connection, loop)
        options = connection.client.transport_options
        heartbeat = heartbeat_of(options.get("lease", self.Channel.lease), options.get("heartbeat", 0.0))
        loop.call_repeatedly(heartbeat, self.cycle.beat)

    def _collect(self, connection: Any) -> None:
        """Let go of a broken connection, or of a parent's after a fork, without a word to the broker."""
        self.cycle.close()
        for channels in (self._avail_channels, self.channels):
            while channels:
                channels.pop().abandon()
