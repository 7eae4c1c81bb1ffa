"""Adding tasks: one, or many at once, all or none."""

from collections.abc import Hashable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from celery import Task, signals
from celery.canvas import Signature
from celery.result import AsyncResult
from celery.utils import uuid

from tasks.admission import admitted, naming_the_broker
from tasks.app import app
from tasks.base import Arguments, FleetTask
from tasks.errors import InvalidArguments, MismatchedBatch
from tasks.pool.mould import Mould
from tasks.priority import validated
from tasks.transport import Outbox

#: What may stand among a signature's options when its message is cast from another's.
PLAIN = (str, int, float, bool, type(None))

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
    with app.connection_or_acquire() as connection:
        outbox = Outbox(app, connection)
        batch = Batch(outbox)
        results = [batch.add(*each) for each in zip(signatures, priorities, ids, strict=True)]
        outbox.send()
    parent = app.current_worker_task
    if parent is not None:
        for result in results:
            parent.add_trail(result)
    return results


class Batch:
    """Fills an outbox: Celery writes the first message of each kind, and a mould writes the others."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._moulds: dict[Hashable, Mould] = {}
        self._usual_tasks: dict[str, Any] = {}
        self._route_of = app.amqp.router.lookup_route
        # whoever listens may change each message
        self._moulds_allowed = not (
            app.conf.task_always_eager
            or signals.before_task_publish.receivers
            or signals.after_task_publish.receivers
            or signals.task_sent.receivers
        )

    def add(self, signature: Signature, priority: int, task_id: str | None) -> AsyncResult[Any]:
        """Put one task into the outbox."""
        if not isinstance(signature, Signature) or signature.subtask_type:
            raise InvalidArguments(
                f"the pool takes signatures of single tasks such as reboot.s('node-7'), got {signature!r}; "
                "send a chain, group or chord with its apply_async()"
            )
        if task_id is not None and not (isinstance(task_id, str) and task_id):
            raise InvalidArguments(f"a task's id is a text that isn't empty, got {task_id!r}")
        name, args, kwargs, options = _parts(signature)
        priority = validated(name, priority)
        task = self._usual_task(name) if self._moulds_allowed and _are_plain(options) else None
        if task is None:
            return self._written_by_celery(signature, priority, task_id)
        call = task.prepare(args, kwargs, {**options, "priority": priority})
        return self._moulded(task, signature, call, task_id or options.get("task_id"))

    def _usual_task(self, name: str) -> Any:
        """Return a task that leaves sending to Fleetring; None for one that has ways of its own."""
        if name not in self._usual_tasks:
            task = app.tasks.get(name)
            self._usual_tasks[name] = task if isinstance(task, FleetTask) and _sends_as_usual(task) else None
        return self._usual_tasks[name]

    def _written_by_celery(self, signature: Signature, priority: int, task_id: str | None) -> AsyncResult[Any]:
        # Signature leaves out an id of None
        return signature.apply_async(producer=self._outbox, priority=priority, add_to_parent=False, task_id=task_id)

    def _moulded(self, task: Any, signature: Signature, call: Arguments, task_id: str | None) -> AsyncResult[Any]:
        args, kwargs, options = call
        route = self._route_of(task.name, args, kwargs, options, task) or {}
        options.pop("task_id", None)
        kind = (task.name, *sorted(options.items()), *sorted(route.items()))
        mould = self._moulds.get(kind)
        if mould is None:
            written = self._written_by_celery(signature, options["priority"], task_id)
            self._moulds[kind] = Mould(self._outbox.tasks[-1], self._outbox.events[-1] if self._outbox.events else None)
            return written
        if task.typing:
            task.__header__(*args, **kwargs)
        result: AsyncResult[Any] = task.AsyncResult(task_id or uuid())
        cast, event = mould.cast(result.id, args, kwargs)
        self._outbox.tasks.append(cast)
        if event is not None:
            self._outbox.events.append(event)
        return result


def _are_plain(options: dict[str, Any]) -> bool:
    """Callbacks, headers and the like are Celery's to write."""
    return not options or (
        all(isinstance(value, PLAIN) for value in options.values())
        and options.keys().isdisjoint({"argsrepr", "kwargsrepr", "serializer", "compression"})
    )


def _sends_as_usual(task: Any) -> bool:
    kind = type(task)
    return (
        kind.apply_async is FleetTask.apply_async
        and kind.shadow_name is Task.shadow_name
        and task.serializer in {None, "json"}
        and task._dump_pydantic_arguments is None  # noqa: SLF001 - Celery has no other sign of it
    )
