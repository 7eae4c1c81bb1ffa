"""Running an action on every node of a task at once, under the lock that the task holds.

Each node becomes a task of its own, whose message names the fence of the lock. Such a child takes no lock; it checks,
before it begins and while it works, that the grant with this fence is still held, and it writes under this fence.
So a child that starts after its parent lost the lock, or died, does nothing.

A task that only waited for others would hold a slot idle, and where all slots do so nothing would ever end. So the
parent takes back and runs itself, last first, what no other slot has taken yet.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any

from celery.app.task import Context
from celery.canvas import Signature
from celery.exceptions import BackendStoreError
from celery.exceptions import TimeoutError as NotYet
from celery.result import AsyncResult
from celery.utils import uuid
from celery.utils.log import get_task_logger

from locking import Lock, StoreError
from tasks import pool
from tasks.admission import SILENCE
from tasks.app import app
from tasks.base import FleetTask
from tasks.errors import InvalidMap, NodesFailed
from tasks.hand_over import suffices, too_weak
from tasks.inventory import Node
from tasks.lending import most_urgent, raise_to
from tasks.transport import NoSuchTask

logger = get_task_logger(__name__)

#: The header of a child's message that holds the fence of the lock under which it runs.
HEADER = "fleetring_fence"

#: How often, in seconds, a parent that waits for a child looks at its lock, and whether the child came back.
LOOK = 1.0


def borrowed(request: Context, names: Iterable[str]) -> Lock | None:
    """Return the lock that a running child works under; None if it is no child.

    Raises:
        LockLost: the parent no longer holds it.
    """
    fence = (request.headers or {}).get(HEADER)
    return None if fence is None else app.runtime.locks.borrow([f"node:{name}" for name in names], fence)


class FanOut:
    """One action on the nodes of one task.

    Args:
        lock: the task's.
        nodes: the task's.
        action: what runs on each of them.
        parent: the task, where it runs in a worker or eagerly; None in application code.
        priority: of the children, where there is no parent to have one.

    Raises:
        InvalidMap: the action is none, or needs more than the lock gives.
    """

    def __init__(
        self, lock: Lock, nodes: Sequence[Node], action: FleetTask, parent: FleetTask | None, priority: int
    ) -> None:
        if not isinstance(action, FleetTask) or action.mode is None:
            raise InvalidMap(str(getattr(action, "name", action)), "it is no node action")
        if not suffices(lock, action.mode):
            raise InvalidMap(action.name, too_weak(action.mode, lock))
        self._lock = lock
        self._nodes = nodes
        self._action = action
        self._parent = parent
        self._priority = priority if parent is None else parent.current_priority
        self._states: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}

    def gather(self, args: Sequence[Any], kwargs: Mapping[str, Any], timeout: float | None) -> dict[str, Any]:
        """Run the action on every node, and return what it returned by node.

        Raises:
            NodesFailed: it failed on some.
            LockLost: the task's lock is gone.
        """
        calls = {node.name: self._call(node.name, args, kwargs) for node in self._nodes}
        if self._parent is not None and not self._parent.runs_in_worker:
            for name, call in calls.items():  # without a broker, perhaps
                self._run_here(name, call)
        else:
            self._send_and_wait(calls, timeout)
        if self._errors:
            told = {name: f"{type(error).__name__}: {error}" for name, error in self._errors.items()}
            cause = ExceptionGroup(f"{self._action.name} failed", list(self._errors.values()))
            raise NodesFailed(self._action.name, self._states, told) from cause
        return {name: self._states[name] for name in calls}

    def _call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Signature:
        headers: dict[str, Any] = {HEADER: self._lock.fence}
        call = self._action.signature((name, *args), dict(kwargs), headers=headers, task_id=uuid(), ignore_result=False)
        self._action.prepare(call.args, call.kwargs, {})
        return call

    def _send_and_wait(self, calls: dict[str, Signature], timeout: float | None) -> None:
        self._lock.ensure()
        self._heed_waiters()
        results = pool.add_many(calls.values(), self._priority)
        open_ = dict(zip(calls, results, strict=True))
        try:
            if self._parent is not None:
                for name in reversed(list(calls)):
                    self._help(name, calls[name], open_)
            self._wait(calls, open_, timeout)
        finally:
            self._cancel(open_)

    @staticmethod
    def _cancel(open_: Mapping[str, AsyncResult[Any]]) -> None:
        for result in open_.values():
            with suppress(NoSuchTask):
                pool.cancel(str(result.id))

    def _help(self, name: str, call: Signature, open_: dict[str, AsyncResult[Any]]) -> bool:
        """Run a child here if nobody has started it; whether it was run."""
        self._lock.ensure()
        with app.queues() as queues:
            if not queues.withdraw(str(open_[name].id)):
                return False
        del open_[name]
        self._run_here(name, call)
        return True

    def _run_here(self, name: str, call: Signature) -> None:
        done = call.apply(priority=self._priority)
        if self._parent is not None and self._parent.runs_in_worker:
            self._store(call, done, str(self._parent.request.hostname))
        self._note(name, done.result)

    @staticmethod
    def _store(call: Signature, done: Any, worker: str) -> None:
        """Write down how a child ended that no worker was sent: whoever looks for it, sees one task like the others."""
        told = Context(task=call.task, args=call.args, kwargs=call.kwargs, hostname=worker, delivery_info={})
        try:
            app.backend.store_result(done.id, done.result, done.state, traceback=done.traceback, request=told)
        except (*SILENCE, BackendStoreError) as error:
            logger.warning("the result of task %s is not stored: %s", done.id, error)

    def _heed_waiters(self) -> bool:
        """Take the priority of the most urgent of those who wait for this lock; whether it is a new one."""
        before = self._priority
        with suppress(StoreError):  # they wait for their turn as before
            self._priority = most_urgent(app.runtime.locks, self._lock.names, before)
        return self._priority < before

    def _note(self, name: str, outcome: Any) -> None:
        (self._errors if isinstance(outcome, Exception) else self._states)[name] = outcome

    def _wait(self, calls: Mapping[str, Signature], open_: dict[str, AsyncResult[Any]], timeout: float | None) -> None:
        deadline = inf if timeout is None else monotonic() + timeout
        while open_:
            name, result = next(iter(open_.items()))
            left = max(0.01, min(LOOK, deadline - monotonic()))
            try:
                outcome = result.get(timeout=left, propagate=False, disable_sync_subtasks=False)
            except NotYet as late:
                self._look(open_)
                if monotonic() >= deadline:
                    self._errors |= dict.fromkeys(open_, TimeoutError(f"not done after {timeout:g} s, {late}"))
                    return
                self._take_back(name, calls[name], open_)
            else:
                del open_[name]
                self._note(name, outcome)

    def _look(self, open_: Mapping[str, AsyncResult[Any]]) -> None:
        """See whether the lock is still held, and whether somebody more urgent waits for it meanwhile."""
        self._lock.ensure()
        if self._heed_waiters():
            raise_to(app.queues, [str(result.id) for result in open_.values()], self._priority)

    def _take_back(self, name: str, call: Signature, open_: dict[str, AsyncResult[Any]]) -> None:
        """Run a child here whose worker died and left it to all; end all of them where the parent was cancelled."""
        if self._parent is None:
            return
        with app.queues() as queues:
            cancelled = queues.is_cancelled(str(self._parent.request.id))
        if cancelled:
            self._cancel(open_)
        self._help(name, call, open_)
