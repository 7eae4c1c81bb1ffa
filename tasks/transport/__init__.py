"""Fleetring's kombu transport for Redis: queues in sorted sets, one script a verb, leases instead of timeouts."""

from tasks.transport.admin import DeadLetter, ListedTask, NewTask, Queues, QueueStats
from tasks.transport.connection import AMQP, Connection
from tasks.transport.errors import DeadLettered, DuplicateTask, NoSuchTask, TransportError, UnsupportedKombu
from tasks.transport.sentinel import SentinelTransport
from tasks.transport.transport import Transport
from tasks.transport.worker import QueueStep, install

__all__ = [
    "AMQP",
    "Connection",
    "DeadLetter",
    "DeadLettered",
    "DuplicateTask",
    "ListedTask",
    "NewTask",
    "NoSuchTask",
    "QueueStats",
    "QueueStep",
    "Queues",
    "SentinelTransport",
    "Transport",
    "TransportError",
    "UnsupportedKombu",
    "install",
]
