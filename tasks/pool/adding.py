"""Adding tasks: one, or many at once, all or none."""

import gc
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, cast

from celery.canvas import Signature
from celery.result import AsyncResult

from tasks.admission import admitted, naming_the_broker
from tasks.app import app
from tasks.base import FleetTask
from tasks.errors import InvalidArguments, MismatchedBatch
from tasks.priority import validated
from tasks.sending import TIMED, USUAL, Call, Frame, Mould
from tasks.transport import Outbox

#: What may stand among the options of a signature whose message is cast from a mould.
MOULDED = USUAL | TIMED

#: Quicker than a signature's own properties.
_parts = itemgetter("task", "args", "kwargs", "options")


def add(signature: Signature, priority: int = 0, task_id: str | None = None) -> AsyncResult[Any]:
    """Add one task: ``pool.add(reboot.s("node-7"), priority=-10)``.

    Args:
        signature: what to run.
        priority: any integer, the lower goes first. Defaults to 0.
        task_id: an id of the caller's choice, unique while the task lives. Defaults to a new one.

    Raises:
        DuplicateTask: a task with this id waits or runs already.
        QueueClosed: the queue is being quiesced, and refuses new tasks.
        QueueFull: the queue takes no new work.
        InvalidPriority: the priority is not an integer.
        InvalidArguments: this is no signature, or its task does not take its arguments.
    """
    [result] = add_many([signature], priority, None if task_id is None else [task_id])
    return result


def add_many(
    signatures: Iterable[Signature],
    priority: int | Sequence[int] = 0,
    task_ids: Sequence[str | None] | None = None,
) -> list[AsyncResult[Any]]:
    """Add many tasks, all or none, in their order; 20,000 simple ones take about a second.

    Args:
        signatures: what to run; not more than 50,000.
        priority: one for all, or a list with one for each. Defaults to 0.
        task_ids: a list with an id for each, None for a new one. Defaults to new ones.

    Raises:
        DuplicateTask: an id lives already, or occurs twice; nothing was added.
        MismatchedBatch: a list has another length than `signatures`.
        QueueClosed: a queue is being quiesced, and refuses new tasks.
        QueueFull: a queue takes less new work than this; nothing was added.
        InvalidPriority: a priority is not an integer.
        InvalidArguments: something is no signature, or its task does not take its arguments.
    """
    listed = list(signatures)
    many = len(listed)
    priorities = _one_each("priorities", priority, many) if _is_list(priority) else [priority] * many
    ids = [None] * many if task_ids is None else _one_each("task IDs", task_ids, many)
    with naming_the_broker():
        return admitted(lambda: _send(listed, priorities, ids))


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _one_each(what: str, values: Any, count: int) -> list[Any]:
    if not _is_list(values):
        raise InvalidArguments(f"{what} must be a list with one for each task, got {values!r}")
    if len(values) != count:
        raise MismatchedBatch(f"Number of {what} ({len(values)}) doesn't match number of tasks ({count})")
    return list(values)


def _send(signatures: list[Signature], priorities: list[Any], ids: list[str | None]) -> list[AsyncResult[Any]]:
    with app.connection_or_acquire() as connection, _no_garbage():
        outbox = Outbox(app, connection)
        batch = Batch(outbox)
        results = [batch.add(*each) for each in zip(signatures, priorities, ids, strict=True)]
        outbox.send()
    parent = app.current_worker_task
    if parent is not None:
        for result in results:
            parent.add_trail(result)
    return results


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Look for no garbage meanwhile: a batch makes none before it is sent, and the search takes a fifth of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Batch:
    """Fills an outbox: with casts from moulds, and with what Celery has to write."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._moulds: dict[Hashable, Mould | None] = {}
        self._usual_tasks: dict[str, FleetTask | None] = {}
        self._frame = Frame.of(app)
        self._moulds_allowed = app.moulds.are_allowed()

    def add(self, signature: Signature, priority: int, task_id: str | None) -> AsyncResult[Any]:
        """Put one task into the outbox."""
        if not isinstance(signature, Signature) or signature.get("subtask_type"):
            raise InvalidArguments(
                f"the pool takes signatures of single tasks such as reboot.s('node-7'), got {signature!r}; "
                "send a chain, group or chord with its apply_async()"
            )
        if task_id is not None and not (isinstance(task_id, str) and task_id):
            raise InvalidArguments(f"a task's id is a text that isn't empty, got {task_id!r}")
        name, args, kwargs, options = _parts(signature)
        priority = validated(name, priority)
        task = self._usual_task(name) if self._moulds_allowed and options.keys() <= MOULDED else None
        if task is not None:
            own = {"priority": priority} if task_id is None else {"priority": priority, "task_id": task_id}
            added = self._moulded(task.as_call(args, kwargs, {**options, **own}))
            if added is not None:
                return added
        # Signature leaves out an id of None
        return signature.apply_async(producer=self._outbox, priority=priority, add_to_parent=False, task_id=task_id)

    def _usual_task(self, name: str) -> FleetTask | None:
        """Return a task that leaves sending to Fleetring; None for one that has ways of its own."""
        if name not in self._usual_tasks:
            task = app.tasks.get(name)
            usual = isinstance(task, FleetTask) and type(task).apply_async is FleetTask.apply_async
            self._usual_tasks[name] = cast("FleetTask", task) if usual else None
        return self._usual_tasks[name]

    def _moulded(self, call: Call) -> AsyncResult[Any] | None:
        kind = app.moulds.kind_of(call)
        mould = None if kind is None else app.moulds.mould(call, kind, self._outbox.connection, self._moulds)
        if mould is None:
            return None
        result, written = app.moulds.cast(call, mould, self._frame)
        self._outbox.take(*written, mould.announcement)
        return result
