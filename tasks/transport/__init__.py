"""Fleetring's kombu transport for Redis: queues in sorted sets, one script a verb, leases instead of timeouts."""

from tasks.transport.connection import AMQP, Connection
from tasks.transport.errors import DuplicateTask, NoSuchTask, TransportError, UnsupportedKombu
from tasks.transport.transport import SentinelTransport, Transport

__all__ = [
    "AMQP",
    "Connection",
    "DuplicateTask",
    "NoSuchTask",
    "SentinelTransport",
    "Transport",
    "TransportError",
    "UnsupportedKombu",
]
