"""Nodes, their lock and their drivers, held together for as long as work on them lasts."""

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from sqlalchemy import update

from locking import Lock, LockMode, fenced
from tasks.app import app
from tasks.drivers import NodeDriver, node_drivers
from tasks.errors import NoNodesGiven
from tasks.inventory import Node, as_uuid, nodes


class TaskManager:
    """The nodes of one piece of work: locked first, then loaded, released at the end however it ends.

    It takes the lock at the call, not at ``with``. Nodes and drivers are loaded only after the lock is held, so that
    nobody works on what another task is about to change.

    Args:
        refs: a node's name or UUID, or any iterable of them; a node named twice counts once.
        shared: several shared holders may work beside one another. Defaults to False: nobody else may.
        purpose: why the nodes are held, for whoever finds them locked.
        wait: how long to wait for the lock, in seconds; None waits without end. Defaults to 0.
        priority: who goes first among those who wait, the lower number. Defaults to 0.
        task_id: the Celery task that holds the nodes, shown to others. Defaults to none.

    Raises:
        NoNodesGiven: refs is empty.
        UnknownNode: a node is not in the inventory; nothing stays locked.
        ResourceLocked: another holder's mode conflicts; nothing is locked.
    """

    def __init__(
        self,
        refs: str | Iterable[str],
        *,
        shared: bool = False,
        purpose: str = "",
        wait: float | None = 0.0,
        priority: int = 0,
        task_id: str | None = None,
    ) -> None:
        self.shared = shared
        self._drivers: dict[str, NodeDriver] = {}
        names = self._canonical_names([refs] if isinstance(refs, str) else list(refs))
        self._lock = app.runtime.locks.acquire(
            [f"node:{name}" for name in names],
            LockMode.SHARED if shared else LockMode.EXCLUSIVE,
            wait=wait,
            lease=app.settings.lock_lease,
            purpose=purpose,
            priority=priority,
            task=task_id,
        )
        try:
            with app.runtime.database.reading() as session:
                self._nodes = nodes.find(session, names)
        except BaseException:
            self._lock.release()
            raise

    def _canonical_names(self, refs: list[str]) -> list[str]:
        """Locks are on names, so a UUID costs one look-up before the lock; a name costs none."""
        if not refs:
            raise NoNodesGiven("the task manager")
        if not any(map(as_uuid, refs)):
            return refs
        with app.runtime.database.reading() as session:
            return [node.name for node in nodes.find(session, refs)]

    @property
    def lock(self) -> Lock:
        """The lock that is held."""
        return self._lock

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
        if len(self._nodes) != 1:
            raise AttributeError(f"Multi-node TaskManager has no attribute '{attribute}'", name=attribute, obj=self)
        return self._nodes[0]

    def driver_of(self, node: Node) -> NodeDriver:
        """Return the driver of one of the task's nodes, loaded at the first use.

        Raises:
            DriverError: the driver is unknown, or cannot work with what the inventory says of the node.
        """
        if node.name not in self._drivers:
            make = node_drivers.load(node.driver)
            self._drivers[node.name] = make(
                node.name, node.driver_info, app.runtime.credentials, guard=self._lock.ensure
            )
        return self._drivers[node.name]

    def save(self, node: Node, **changes: Any) -> None:
        """Write columns of a node's row through the fence: a holder that lost its lock changes nothing.

        Args:
            node: one of the task's nodes; it carries the changes afterwards.
            changes: new values, by column.

        Raises:
            LockLost: a later holder of the lock has already written.
        """
        self._lock.ensure()
        statement = update(Node).where(Node.id == node.id).values(**changes)
        with app.runtime.database.session() as session:
            session.execute(fenced(statement, self._lock))
        for column, value in changes.items():
            setattr(node, column, value)

    def release(self) -> None:
        """Close the drivers and release the lock; more than once does no harm."""
        with ExitStack() as stack:
            stack.callback(self._lock.release)
            while self._drivers:
                stack.callback(self._drivers.popitem()[1].close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.release()
        except Exception as release_error:
            if error is None:
                raise
            error.add_note(f"releasing the nodes failed, too: {release_error}")


#: The verb for code outside a task: ``with task_manager.acquire(["node-7"], purpose="repair") as task: ...``.
acquire = TaskManager
