"""The errors of this package, one tree."""

from collections.abc import Sequence


class PartitioningError(Exception):
    """Something about a ring, a group or a partition is wrong."""


class EmptyRing(PartitioningError):
    """A key was looked up in a ring that has no nodes."""

    def __init__(self) -> None:
        super().__init__("the hash ring has no nodes, so no key has an owner; add a node with HashRing.with_node()")


class UnknownRingNode(PartitioningError):
    """A node was named that the ring does not have."""

    def __init__(self, node: str) -> None:
        super().__init__(f"the hash ring has no node {node!r}; HashRing.nodes lists the ones it has")
        self.node = node


class InvalidRing(PartitioningError, ValueError):
    """A ring was described that cannot be built."""


class InvalidGroupOptions(PartitioningError, ValueError):
    """A coordinator was described that cannot work."""


class UnstableKey(PartitioningError, TypeError):
    """An object was to be placed on a ring that different processes would place differently."""

    def __init__(self, item: object) -> None:
        super().__init__(
            f"a {type(item).__name__} has no key that is the same in every process; pass key=, or give the class a "
            "method __hash_key__ that returns str or bytes, such as the id of its row"
        )


class GroupBackendError(PartitioningError):
    """The place that keeps the groups did not answer, or refused."""

    def __init__(self, address: str, cause: Exception) -> None:
        super().__init__(
            f"the groups in {address} cannot be reached: {cause}. Start the server, or correct the address"
        )
        self.address = address


class ErrorJoiningPartitioningGroup(PartitioningError):
    """A group could not be joined in the time that the caller was ready to wait."""

    def __init__(self, group: str, why: str) -> None:
        super().__init__(
            f"Error occurred when joining partitioning group {group}: {why}. It is tried again with every heartbeat"
        )
        self.group = group


class MemberNotInGroupError(PartitioningError):
    """This process has no place in its group, so it must not take anything."""

    def __init__(self, group_id: str, members: Sequence[str], my_id: str) -> None:
        super().__init__(
            f"Group ID: {group_id}, Members: {', '.join(members)}, Me: {my_id}: "
            "Current agent is not part of group and cannot take tasks. "
            "If another process has the same name, give each a name of its own"
        )
        self.group_id = group_id
        self.members = tuple(members)
        self.my_id = my_id


class UnroutableTask(PartitioningError):
    """A task that needs a subcloud was sent without one."""

    def __init__(self, task: str) -> None:
        super().__init__(f"task {task} was sent without a subcloud; pass its name as the first argument")
        self.task = task
