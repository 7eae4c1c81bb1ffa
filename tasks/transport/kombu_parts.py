"""The classes of kombu that this package builds on, private sides included.

The published type stubs know only kombu's public side, so here, and only here, its classes become untyped.
``tests/transport/test_kombu_contract.py`` names every method that is overridden or relied upon.
"""

from typing import Any

import kombu
from kombu import connection as _connection
from kombu import messaging as _messaging
from kombu.transport import redis as _redis
from kombu.transport import virtual as _virtual

KOMBU_VERSION: tuple[int, ...] = vars(kombu)["VERSION"]

BaseQoS: Any = _virtual.QoS
BaseChannel: Any = _redis.Channel
BaseSentinelChannel: Any = _redis.SentinelChannel
BasePoller: Any = _redis.MultiChannelPoller
BaseTransport: Any = _redis.Transport
BaseConnection: Any = _connection.Connection
BasePooledConnection: Any = _connection.PooledConnection
BaseConnectionPool: Any = _connection.ConnectionPool
BaseProducer: Any = _messaging.Producer
