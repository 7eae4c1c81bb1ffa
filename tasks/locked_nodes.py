"""The nodes that a lock covers: their rows, their drivers, and how the lock on them changes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from locking import ExclusiveLockRequired, Lock, LockError, LockMode, ResourceLocked
from tasks.app import app
from tasks.drivers import NodeDriver, node_drivers
from tasks.inventory import InventoryError, Node, nodes, overwrite, write

#: How long, in seconds, `LockedNodes.yielding` waits at most for those whom it let in to leave.
TAKE_BACK = 60.0


class LockedNodes:
    """Nodes and drivers, loaded after the lock is held; `TaskManager` says which lock that is."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._nodes: list[Node] = []
        self._drivers: dict[str, NodeDriver] = {}
        self._lock: Lock | None = None
        #: Who had the nodes when this task wanted them; None if it got them.
        self.busy: ResourceLocked | None = None

    def _take(self, mode: LockMode, wait: float | None) -> Lock:
        """Take the lock anew."""
        raise NotImplementedError

    @property
    def lock(self) -> Lock:
        """The lock that is held, or observes.

        Raises:
            ResourceLocked: the nodes were busy and were skipped.
        """
        if self._lock is None:
            assert self.busy is not None  # noqa: S101 - nothing else leaves a manager without a lock
            raise self.busy
        return self._lock

    @property
    def shared(self) -> bool:
        """Whether others may work on the nodes at the same time."""
        return self.lock.mode is not LockMode.EXCLUSIVE

    @property
    def nodes(self) -> list[Node]:
        """Every node of the task, in the order in which they were given."""
        return self._nodes

    @property
    def node(self) -> Node:
        """The node of a task on exactly one.

        Raises:
            AttributeError: the task has several nodes.
        """
        return self._only("node")

    @property
    def driver(self) -> NodeDriver:
        """The driver of a task on exactly one node.

        Raises:
            AttributeError: the task has several nodes.
        """
        return self.driver_of(self._only("driver"))

    def _only(self, attribute: str) -> Node:
        if not self._nodes:
            raise AttributeError(f"this task has no '{attribute}': its nodes were locked, and so it skipped them")
        if len(self._nodes) != 1:
            raise AttributeError(f"Multi-node TaskManager has no attribute '{attribute}'", name=attribute, obj=self)
        return self._nodes[0]

    def driver_of(self, node: Node) -> NodeDriver:
        """Return the driver of one of the task's nodes, loaded at the first use.

        It asks before each request that changes the machine whether the lock is still held.

        Raises:
            DriverError: the driver is unknown, or cannot work with what the inventory says of the node.
        """
        if node.name not in self._drivers:
            make = node_drivers.load(node.driver, node.name)
            self._drivers[node.name] = make(node.name, node.driver_info, app.runtime.credentials, guard=self._guard)
        return self._drivers[node.name]

    def _guard(self) -> None:
        if self.lock.mode is LockMode.OBSERVE:
            raise ExclusiveLockRequired(f"{self.lock!r} only observes: nothing may be changed under it")
        self.lock.ensure()

    def validate(self) -> bool:
        """Whether what was read still holds: no exclusive holder came, or this manager's own lock is still held."""
        return self.lock.validate() if self.lock.mode is LockMode.OBSERVE else not self.lock.lost

    def save(self, node: Node, **changes: Any) -> None:
        """Write columns of a node's row; a holder that lost its lock, or looks at an old row, changes nothing.

        Args:
            node: one of the task's nodes; it carries the row's newest values afterwards.
            changes: new values, by column.

        Raises:
            LockLost: the lock is gone, or a later holder of it has already written.
            ExclusiveLockRequired: the nodes are only observed.
            ConcurrentChange: one of these columns was changed since the node was loaded; see `reload`.
            UnknownNode: the node was deleted meanwhile.
        """
        write(app.runtime.database, self.lock, node, changes)

    def overwrite(self, node: Node, **facts: Any) -> None:
        """Write facts read from the hardware, whatever another sharer found meanwhile; otherwise like `save`."""
        overwrite(app.runtime.database, self.lock, node, facts)

    def reload(self) -> None:
        """Load the nodes anew and forget the drivers, which are made anew when they are needed.

        Raises:
            UnknownNode: a node was deleted meanwhile.
        """
        with app.runtime.database.reading() as session:
            found = nodes.find(session, self._names)
        self._close_drivers()
        self._nodes = found

    # -- changing the lock

    def upgrade_lock(self, wait: float | None = 0.0) -> None:
        """Make the lock exclusive, and load nodes and drivers anew; does nothing if it is exclusive already.

        Args:
            wait: how long to wait for other sharers to leave, in seconds; None waits without end. Defaults to 0.

        Raises:
            ResourceLocked: others share the nodes; the shared lock is kept.
            UpgradeConflict: another sharer upgrades already; the shared lock is kept.
            LockLost: this lock is gone.
        """
        if self.lock.mode is LockMode.EXCLUSIVE:
            return
        if self.lock.mode is LockMode.OBSERVE:
            self._lock = self._take(LockMode.EXCLUSIVE, wait)
            self.busy = None
        else:
            self.lock.upgrade(wait)
        self.reload()

    def downgrade_lock(self) -> None:
        """Make the lock shared, without a gap: sharers who wait come in, nobody who needs the nodes alone.

        Raises:
            LockLost: this lock is gone.
        """
        self._guard()
        self.lock.downgrade()

    @contextmanager
    def yielding(self, wait: float | None = TAKE_BACK) -> Iterator[None]:
        """Let sharers in for as long as a block lasts, a long wait for the machine, say; then take the lock back.

        Nodes and drivers are loaded anew afterwards. Whatever the block raises goes on, with the lock taken back.

        Args:
            wait: how long, in seconds, to wait at the end for the sharers to leave; None waits without end. Defaults
                to 60.

        Raises:
            LockTimeout: they stayed; the lock is still shared.
            LockLost: the lock is gone.
        """
        self.downgrade_lock()
        try:
            yield
        except Exception as error:
            try:
                self.upgrade_lock(wait)
            except (LockError, InventoryError) as trouble:  # the block's own error is the one to tell
                error.add_note(f"the lock could not be taken back, too: {trouble}")
            raise
        self.upgrade_lock(wait)

    def _close_drivers(self) -> None:
        with ExitStack() as stack:
            while self._drivers:
                stack.callback(self._drivers.popitem()[1].close)
