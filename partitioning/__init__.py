"""Hash ring, and the router that sends each subcloud to its dedicated queue."""

from partitioning.errors import EmptyRing, InvalidRing, PartitioningError, UnknownRingNode, UnroutableTask
from partitioning.hash_ring import HashRing
from partitioning.router import initial_sync_queues, initial_sync_router

__all__ = [
    "EmptyRing",
    "HashRing",
    "InvalidRing",
    "PartitioningError",
    "UnknownRingNode",
    "UnroutableTask",
    "initial_sync_queues",
    "initial_sync_router",
]
