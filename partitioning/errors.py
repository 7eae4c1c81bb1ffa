"""The errors of this package, one tree."""


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


class UnroutableTask(PartitioningError):
    """A task that needs a subcloud was sent without one."""

    def __init__(self, task: str) -> None:
        super().__init__(f"task {task} was sent without a subcloud; pass its name as the first argument")
        self.task = task
