"""Handing the lock on nodes to a task, without an instant in which the nodes are free.

The sender's grant is put under a handle that only the task's message knows; the worker that starts the task adopts it.
Nobody renews the grant while the message waits: it has a lease for that, after which the nodes are free, and the task
asks for a lock of its own like any other. A handle is good once, so what a message brings that is delivered again
is worth nothing, and it asks anew, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celery.app.task import Context
from celery.canvas import Signature
from celery.exceptions import TaskPredicate
from celery.utils import uuid
from celery.utils.log import get_task_logger

from locking import InvalidRequest, Lock, LockLost, LockMode
from tasks.app import app
from tasks.base import FleetTask
from tasks.errors import InvalidHandOver
from tasks.inventory import Node, as_uuid
from tasks.unclaimed import HEADER

logger = get_task_logger(__name__)

OnError = Callable[[Exception], object]


@dataclass(frozen=True, slots=True)
class HandOver:
    """The promise that a task gets the lock.

    Attributes:
        call: what is sent, under an id that is chosen already.
        within: for how many seconds the lock waits for the task to start.
        on_error: hears why the task was not sent, while the lock is still held; None if nobody does.
        priority: with which it is sent.
    """

    call: Signature
    within: float
    on_error: OnError | None
    priority: int

    @property
    def name(self) -> str:
        """The name of the task."""
        return str(self.call.task)

    @property
    def task_id(self) -> str:
        """The id of the task that gets the lock."""
        return str(self.call.options["task_id"])

    def put_aside(self, lock: Lock, purpose: str) -> str:
        """Put the lock where only the task finds it, and return the handle.

        Raises:
            LockLost: the lock is gone.
        """
        return lock.transfer(
            self.within,
            owner=f"task:{self.task_id}",
            task=self.task_id,
            purpose=f"{self.name.rpartition('.')[2]}, not yet started, after {purpose or 'no told purpose'}",
        )

    def send(self, handle: str) -> None:
        """Send the task with its lock."""
        self.call.apply_async(headers={**(self.call.options.get("headers") or {}), HEADER: handle})

    def tell(self, error: BaseException) -> None:
        """Tell the hook why the task is not sent; what the hook raises is noted on that error."""
        if self.on_error is None or not isinstance(error, Exception) or isinstance(error, TaskPredicate):
            return  # a task that is retried or deferred will promise again
        try:
            self.on_error(error)
        except Exception as trouble:
            error.add_note(f"on_error of the {self.name} that was to follow failed, too: {trouble!r}")
            logger.warning("on_error of the %s that was to follow failed", self.name, exc_info=True)


def promise(
    call: Signature, lock: Lock, nodes: Sequence[Node], within: float | None, on_error: OnError | None
) -> HandOver:
    """Check that a task can take over a lock on nodes, and choose its id.

    Raises:
        InvalidHandOver: it cannot: it is no node action, or it needs other nodes, or more than the lock gives.
        InvalidArguments: the action does not take its arguments.
    """
    task = _action_of(call)
    args, _, options = task.prepare(call.args, call.kwargs, call.options)
    refs = [args[0]] if isinstance(args[0], str) else args[0]
    known = {reference for node in nodes for reference in (node.name, node.uuid)}
    if strangers := [ref for ref in refs if (as_uuid(ref) or ref) not in known]:
        raise InvalidHandOver(task.name, f"it is on {', '.join(strangers)}, which this task does not hold")
    if not suffices(lock, task.mode):
        raise InvalidHandOver(task.name, too_weak(task.mode, lock))
    sent = call.clone()
    sent.set(task_id=call.options.get("task_id") or uuid())
    away = float(options.get("countdown") or 0)
    wait = (app.settings.hand_over_deadline if within is None else within) + away
    return HandOver(sent, wait, on_error, options["priority"])


def _action_of(call: object) -> Any:
    if not isinstance(call, Signature) or call.subtask_type:
        raise InvalidHandOver(repr(call), "it is no signature of a single action, such as reboot.s('node-7')")
    task = app.tasks.get(str(call.task))
    if not isinstance(task, FleetTask) or task.mode is None:
        raise InvalidHandOver(str(call.task), "it is no node action, and would not release it")
    return task


def too_weak(mode: LockMode, lock: Lock) -> str:
    """Say why a lock is not enough for an action of this mode."""
    return f"it needs its nodes in the mode {mode.value}, and they are held in the mode {lock.mode.value}"


def suffices(lock: Lock, mode: LockMode | None) -> bool:
    """Whether an action of this mode may run under a lock that somebody else took."""
    weak = {LockMode.OBSERVE, LockMode.SHARED} if mode is LockMode.EXCLUSIVE else {LockMode.OBSERVE}
    return lock.mode not in weak


def adopted(request: Context, names: Sequence[str], mode: LockMode, purpose: str) -> Lock | None:
    """Return the lock that a running task was sent with; None if it brought none, or one that is no longer good.

    Raises:
        InvalidHandOver: the lock is on other nodes, or weaker than the task needs; it is free again.
    """
    handle = (request.headers or {}).pop(HEADER, None)  # a retry must not bring it again
    if handle is None:
        return None
    try:
        lock = app.runtime.locks.adopt(handle, lease=app.settings.lock_lease, purpose=purpose, task=request.id)
    except (LockLost, InvalidRequest) as reason:
        logger.warning("the lock that was handed over is gone, so the task asks for one of its own: %s", reason)
        return None
    try:
        if missing := [name for name in names if f"node:{name}" not in lock.modes]:
            raise InvalidHandOver(purpose, f"its message brought a lock that is not on {', '.join(missing)}")
        if not suffices(lock, mode):
            raise InvalidHandOver(purpose, too_weak(mode, lock))
        if mode is LockMode.SHARED and lock.mode is LockMode.EXCLUSIVE:
            lock.downgrade()
    except BaseException:
        lock.release()
        raise
    return lock
