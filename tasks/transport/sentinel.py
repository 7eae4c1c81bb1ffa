"""The transport behind Redis Sentinel."""

from typing import ClassVar

from tasks.transport.channel import Channel
from tasks.transport.kombu_parts import BaseSentinelChannel
from tasks.transport.transport import Transport


class SentinelChannel(Channel, BaseSentinelChannel):  # type: ignore[misc] # see kombu_parts
    """A channel that asks sentinels where the master is."""

    from_transport_options: ClassVar[tuple[str, ...]] = (
        *dict.fromkeys((*BaseSentinelChannel.from_transport_options, *Channel.from_transport_options)),
    )


class SentinelTransport(Transport):
    """The transport for ``sentinel://`` URLs; the option ``master_name`` is required."""

    default_port = 26379
    Channel = SentinelChannel
