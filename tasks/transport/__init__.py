"""Fleetring's kombu transport for Redis: queues in sorted sets, one script a verb, leases instead of timeouts."""

from tasks.transport.admin import Gate, Queues
from tasks.transport.claims import kept_for_urgent
from tasks.transport.connection import AMQP, Connection
from tasks.transport.envelope import ORDERING, ordering
from tasks.transport.errors import (
    DeadLettered,
    DuplicateTask,
    NoSuchTask,
    QueueClosed,
    QueueFull,
    TransportError,
    UnsupportedKombu,
)
from tasks.transport.look import HeldBy, HeldTask, Look
from tasks.transport.obituary import buried
from tasks.transport.outbox import Outbox
from tasks.transport.parking import ParkableRequest, Parked
from tasks.transport.records import (
    Announcement,
    DeadLetter,
    ListedTask,
    News,
    NewTask,
    QueueStats,
    State,
    Waiting,
)
from tasks.transport.sentinel import SentinelTransport
from tasks.transport.shown import LONGEST as LONGEST_SHOWN
from tasks.transport.shown import quick_repr
from tasks.transport.transport import Transport
from tasks.transport.worker import QueueStep, install

__all__ = [
    "AMQP",
    "LONGEST_SHOWN",
    "ORDERING",
    "Announcement",
    "Connection",
    "DeadLetter",
    "DeadLettered",
    "DuplicateTask",
    "Gate",
    "HeldBy",
    "HeldTask",
    "ListedTask",
    "Look",
    "NewTask",
    "News",
    "NoSuchTask",
    "Outbox",
    "ParkableRequest",
    "Parked",
    "QueueClosed",
    "QueueFull",
    "QueueStats",
    "QueueStep",
    "Queues",
    "SentinelTransport",
    "State",
    "Transport",
    "TransportError",
    "UnsupportedKombu",
    "Waiting",
    "buried",
    "install",
    "kept_for_urgent",
    "ordering",
    "quick_repr",
]
