"""Hash ring, group membership, and the router that sends each subcloud to its dedicated queue."""

from partitioning.coordinator import PartitionCoordinator
from partitioning.errors import (
    EmptyRing,
    ErrorJoiningPartitioningGroup,
    GroupBackendError,
    InvalidGroupOptions,
    InvalidRing,
    MemberNotInGroupError,
    PartitioningError,
    UnknownRingNode,
    UnroutableTask,
    UnstableKey,
)
from partitioning.group import Candidate, GroupView, Member, Standing, Subset
from partitioning.hash_ring import HashRing
from partitioning.keys import hash_key
from partitioning.router import QUEUE_PREFIX_DEFAULT, initial_sync_queues, initial_sync_router
from partitioning.state import BackendState, CoordinatorState, GroupState
from partitioning.store import GroupStore

__all__ = [
    "QUEUE_PREFIX_DEFAULT",
    "BackendState",
    "Candidate",
    "CoordinatorState",
    "EmptyRing",
    "ErrorJoiningPartitioningGroup",
    "GroupBackendError",
    "GroupState",
    "GroupStore",
    "GroupView",
    "HashRing",
    "InvalidGroupOptions",
    "InvalidRing",
    "Member",
    "MemberNotInGroupError",
    "PartitionCoordinator",
    "PartitioningError",
    "Standing",
    "Subset",
    "UnknownRingNode",
    "UnroutableTask",
    "UnstableKey",
    "hash_key",
    "initial_sync_queues",
    "initial_sync_router",
]
