"""Nodes, their lock and their drivers, held together for as long as work on them lasts."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self, get_args

from celery.canvas import Signature
from celery.result import AsyncResult
from celery.utils.log import get_logger

from locking import Lock, LockError, LockMode, ResourceLocked, StoreError
from tasks.app import app
from tasks.base import FleetTask
from tasks.errors import InvalidArguments, InvalidHandOver, InvalidOnBusy, NoNodesGiven
from tasks.fan_out import FanOut
from tasks.hand_over import HandOver, OnError, promise
from tasks.inventory import as_uuid, nodes
from tasks.lending import most_urgent, raise_to
from tasks.locked_nodes import LockedNodes

logger = get_logger(__name__)

#: What a task manager does when its nodes are busy.
WhenBusy = Literal["raise", "wait", "skip", "observe"]


class TaskManager(LockedNodes):
    """The nodes of one piece of work: locked first, then loaded, released at the end however it ends.

    It takes the lock at the call, not at ``with``. Nodes and drivers are loaded only after the lock is held, so that
    nobody works on what another task is about to change.

    Args:
        refs: a node's name or UUID, or any iterable of them; a node named twice counts once.
        shared: several shared holders may work beside one another. Defaults to False: nobody else may.
        mode: EXCLUSIVE, SHARED, or OBSERVE, which never waits, keeps nobody out, and may change nothing; for
            ``shared`` in other words. Defaults to what ``shared`` says.
        on_busy: when the nodes are locked, ``raise`` ResourceLocked; ``wait``; ``skip``, which gives a manager that is
            false and has no nodes; or ``observe`` them without a lock. Defaults to ``wait`` where ``wait`` gives
            a time, else to ``raise``.
        purpose: why the nodes are held, for whoever finds them locked.
        wait: how long to wait for the lock, in seconds, before it counts as busy; None waits without end. Defaults to
            0, and with ``on_busy="wait"`` to None.
        priority: who goes first among those who wait, the lower number. Defaults to 0.
        task_id: the Celery task that holds the nodes, shown to others. Defaults to none.

    Raises:
        NoNodesGiven: refs is empty.
        UnknownNode: a node is not in the inventory; nothing stays locked.
        ResourceLocked: another holder's mode conflicts; nothing is locked.
        LockTimeout: the same, after having waited.
        InvalidOnBusy: `on_busy` is none of the above.
        InvalidArguments: refs holds something else than texts, or ``shared`` contradicts ``mode``.
    """

    def __init__(
        self,
        refs: str | Iterable[str],
        *,
        shared: bool = False,
        mode: LockMode | None = None,
        on_busy: WhenBusy | None = None,
        purpose: str = "",
        wait: float | None = 0.0,
        priority: int = 0,
        task_id: str | None = None,
    ) -> None:
        super().__init__()
        mode = _mode(shared=shared, mode=mode)
        self._purpose, self._priority, self._task_id = purpose, priority, task_id
        self._promise: HandOver | None = None
        reaction = _reaction(on_busy, wait)
        budget = None if on_busy == "wait" and wait == 0 else wait
        self._names = self._canonical_names([refs] if isinstance(refs, str) else list(refs))
        try:
            self._lock = self._take(mode, budget)
        except ResourceLocked as busy:
            self.busy = busy
            if reaction in {"raise", "wait"}:
                raise
            if reaction == "observe":
                self._lock = self._take(LockMode.OBSERVE, 0.0)
        self._load_or_release()

    def _canonical_names(self, refs: list[str]) -> list[str]:
        """Locks are on names, so a UUID costs one look-up before the lock; a name costs none."""
        if not refs:
            raise NoNodesGiven("the task manager")
        if wrong := [ref for ref in refs if not (isinstance(ref, str) and ref)]:
            raise InvalidArguments(f"the task manager takes names or UUIDs of nodes, got {wrong[0]!r}")
        if not any(map(as_uuid, refs)):
            return list(dict.fromkeys(refs))
        with app.runtime.database.reading() as session:
            return [node.name for node in nodes.find(session, refs)]

    def _take(self, mode: LockMode, wait: float | None) -> Lock:
        """Take the lock anew."""
        asked = monotonic()
        lock = self._ask(
            mode,
            wait,
            lease=app.settings.lock_lease,
            lock_delay=app.settings.bmc_lock_delay,
            purpose=self._purpose,
            priority=self._priority,
            task=self._task_id,
        )
        logger.debug("got %r for %s (took %.2f s)", lock, self._purpose or "no told purpose", monotonic() - asked)
        return lock

    def _ask(self, mode: LockMode, wait: float | None, **terms: Any) -> Lock:
        """Ask for the lock on terms that the lock manager knows."""
        return app.runtime.locks.acquire(self._lock_names, mode, wait=wait, **terms)

    @property
    def _lock_names(self) -> list[str]:
        return [f"node:{name}" for name in self._names]

    def _load_or_release(self) -> None:
        if self._lock is None:
            return
        try:
            self.reload()
        except BaseException:
            self._lock.release()
            raise

    # -- what is held

    def __bool__(self) -> bool:
        """Whether the nodes are here; False only where ``on_busy="skip"`` found them locked."""
        return self._lock is not None

    # -- several nodes

    def map(self, action: FleetTask, *args: Any, timeout: float | None = None, **kwargs: Any) -> dict[str, Any]:
        """Run an action on each of the nodes at once, under the lock that is held here, and gather what it returns.

        Each node is a task of its own, of this task's priority. It takes no lock, but checks this one's. Where this
        task runs in a worker, it runs itself what no other slot has taken, so that it never waits for a slot. The nodes
        are loaded anew afterwards.

        Args:
            action: a node action.
            args: its arguments, without the nodes.
            timeout: for how long, in seconds, to wait for all of them; then the others are cancelled. Defaults to
                without end.
            kwargs: its keyword arguments.

        Returns:
            What the action returned, by node.

        Raises:
            NodesFailed: it failed on some nodes; says on which, why, and what it returned on the others.
            InvalidMap: the action is none, or needs more than this lock gives.
            InvalidArguments: the action does not take these arguments.
            LockLost: this lock is gone; what had not started doesn't.
        """
        try:
            return FanOut(self.lock, self._nodes, action, self._running_task(), self._priority).gather(
                args, kwargs, timeout
            )
        finally:
            self.reload()

    def _running_task(self) -> FleetTask | None:
        """The task that runs here; None outside of one."""
        return None

    # -- the end

    def spawn_after(
        self, call: Signature, *, within: float | None = None, on_error: OnError | None = None
    ) -> AsyncResult[Any]:
        """Send an action when the ``with`` block ends well, and let it have the lock: nobody gets between the two.

        The action releases the lock when it ends, however it ends. Where the block raises, or the action can't be
        sent, nothing runs, the lock is released, and the first error is the one that is seen.

        Args:
            call: one action on nodes that are held here, ``reboot.s("node-7")``.
            within: for how long, in seconds, the nodes wait for the action to start, beyond its countdown; then they
                are free, and the action asks for them anew. Defaults to the setting ``hand_over_deadline``.
            on_error: called with the error, while the lock is held, when the action is not sent. Defaults to nothing.

        Returns:
            The result that the action will have.

        Raises:
            InvalidHandOver: the action can't take over this lock, or another one was promised it.
            InvalidArguments: the action does not take its arguments.
        """
        if self._promise is not None:
            raise InvalidHandOver(repr(call), f"it was promised to {self._promise.call.task} already")
        self._promise = promise(call, self.lock, self._nodes, within, on_error)
        return app.AsyncResult(self._promise.task_id)

    def release(self) -> None:
        """Close the drivers and release the lock; more than once does no harm."""
        with ExitStack() as stack:
            if self._lock is not None:
                stack.callback(self._lock.release)
            stack.callback(self._close_drivers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._finish(error)
        except BaseException as trouble:
            self._give_back(trouble)
            raise
        self._give_back(error)

    def _finish(self, error: BaseException | None) -> None:
        follower, self._promise = self._promise, None
        try:
            self._close_drivers()
            if follower is not None and error is None:
                self._hand_over(follower)
        except Exception as trouble:
            if error is None:
                if follower is not None:
                    follower.tell(trouble)
                raise
            error.add_note(f"closing the drivers failed, too: {trouble}")
        if follower is not None and error is not None:
            follower.tell(error)

    def _hand_over(self, follower: HandOver) -> None:
        names = self.lock.names
        handle = follower.put_aside(self.lock, self._purpose)
        try:
            follower.send(handle)
        except BaseException as error:
            try:
                self._lock = app.runtime.locks.adopt(handle, lease=app.settings.lock_lease, task=self._task_id)
            except LockError as trouble:
                error.add_note(f"the nodes stay locked for at most {follower.within:g} s, too: {trouble}")
            raise
        self._lend(follower, names)

    def _lend(self, follower: HandOver, names: Sequence[str]) -> None:
        """Let the follower start as soon as the most urgent of those who wait for its lock would."""
        try:
            urgency = most_urgent(app.runtime.locks, names, follower.priority)
        except LockError as trouble:  # it is sent, and has its lock
            logger.warning("%s starts with its own priority: %s", follower.name, trouble)
        else:
            if urgency < follower.priority:
                raise_to(app.queues, [follower.task_id], urgency)

    def _give_back(self, error: BaseException | None) -> None:
        """Release the lock; at a clean end it raises LockLost if the lock went away unnoticed, else it notes that."""
        if self._lock is None:
            return
        unnoticed = self._lock.lost
        try:
            self._lock.__exit__(None if error is None else type(error), error, None)
        except StoreError as silence:
            if unnoticed:
                raise
            logger.warning("the work on %s is done, its lock ends with its lease: %s", ", ".join(self._names), silence)


def _mode(*, shared: bool, mode: LockMode | None) -> LockMode:
    if mode is None:
        return LockMode.SHARED if shared else LockMode.EXCLUSIVE
    if not isinstance(mode, LockMode) or (shared and mode is not LockMode.SHARED):
        raise InvalidArguments(f"shared={shared} and mode={mode!r} contradict each other: pass one of the two")
    return mode


def _reaction(on_busy: WhenBusy | None, wait: float | None) -> WhenBusy:
    if on_busy is None:
        return "raise" if wait == 0 else "wait"
    if on_busy not in get_args(WhenBusy):
        raise InvalidOnBusy("the task manager", on_busy, get_args(WhenBusy))
    return on_busy


#: The verb for code outside a task: ``with task_manager.acquire(["node-7"], purpose="repair") as task: ...``.
acquire = TaskManager
