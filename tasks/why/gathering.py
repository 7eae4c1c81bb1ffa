"""Gathers the facts: a few bounded reads of broker, locks, results and rows for each name; nothing is written."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from locking import server_now
from partitioning import initial_sync_router
from tasks.action import NodeAction
from tasks.app import SYNCHRONISE, app
from tasks.inventory import Node, Subcloud, as_uuid
from tasks.periodic import PeriodicTask
from tasks.settings import ACTIONS_QUEUE
from tasks.transport import ListedTask, Look, NoSuchTask, Queues
from tasks.why.facts import EndedFacts, LockFacts, NodeFacts, QueueFacts, SubcloudFacts, TaskFacts, WorkerFacts
from tasks.workers import Register, Seen, Stage

#: So many tasks of each state of a queue are looked through for those of one node or subcloud.
LOOKED_THROUGH = 200
#: So many nodes of one task are looked at.
NODES = 20
#: So many of the tasks that run on one node are judged, and of those that wait for its lock.
JUDGED = 10


class Gatherer:
    """Reads what is known, over one connection to the broker and one session with the inventory."""

    def __init__(self, queues: Queues, session: Session) -> None:
        self._queues = queues
        self._session = session
        self._seen = Register(app).read()
        #: The time by the broker's clock.
        self.now = self._queues.look(ACTIONS_QUEUE).at

    # -- tasks

    def living(self, task_id: str) -> TaskFacts | None:
        """A task that waits or runs."""
        try:
            return self._facts_of(self._queues.find(task_id))
        except NoSuchTask:
            return None

    def ended(self, task_id: str) -> EndedFacts | None:
        """A task that is a dead letter, or whose result is kept."""
        letter, told = self._queues.letter(task_id), app.backend.get_task_meta(task_id)
        if letter is None and told["status"] == "PENDING":
            return None
        return EndedFacts(task_id, letter, told)

    def _facts_of(self, task: ListedTask) -> TaskFacts:
        action = app.tasks.get(task.name)
        names = self._lock_names(task, action)
        return TaskFacts(
            task=task,
            queue=self._queue(task.queue, task.id),
            locks=tuple(map(self._lock, names)),
            mode=action.mode if isinstance(action, NodeAction) else None,
            told=app.backend.get_task_meta(task.id),
            time_limit=app.settings.task_time_limit,
        )

    def _lock_names(self, task: ListedTask, action: object) -> list[str]:
        """The locks that a task takes; for an action whose code is not loaded here, its first argument is believed."""
        first = _first_argument(task)
        if task.name == SYNCHRONISE:
            return [f"subcloud:{first}"]
        if isinstance(action, PeriodicTask):
            return [f"periodic:{task.name}"]
        if action is not None and not isinstance(action, NodeAction):
            return []
        return [f"node:{node.name}" for node in self._nodes(_texts(first)[:NODES])]

    def _nodes(self, references: Sequence[str]) -> Sequence[Node]:
        uuids = [uuid for uuid in map(as_uuid, references) if uuid]
        wanted = or_(Node.name.in_(references), Node.uuid.in_(uuids))
        return self._session.scalars(select(Node).where(wanted).order_by(Node.name)).all() if references else ()

    # -- what tasks wait for

    def _lock(self, name: str) -> LockFacts:
        locks = app.runtime.locks
        return LockFacts(name, tuple(locks.holders(name)), tuple(locks.waiters(name)))

    def _queue(self, queue: str, task_id: str = "") -> QueueFacts:
        look = self._queues.look(queue, task_id)
        workers = tuple(_worker(seen, queue, look) for seen in self._seen if seen.report)
        return QueueFacts(look, workers, app.settings.reserved_slots)

    # -- nodes and subclouds

    def node(self, name: str) -> NodeFacts | None:
        """A node by name or UUID, with the tasks for it."""
        found = self._nodes([name])
        if not found:
            return None
        [node] = found
        lock = self._lock(f"node:{node.name}")
        tasks, complete = self._tasks_for(node, lock)
        running = [task for task in tasks if task.state == "running"]
        waiting = [task for task in tasks if task.state != "running"]
        return NodeFacts(
            node=node,
            lock=lock,
            running=tuple(map(self._facts_of, running[:JUDGED])),
            first=self._facts_of(waiting[0]) if waiting else None,
            others=tuple(waiting[1:]),
            complete=complete,
        )

    def _tasks_for(self, node: Node, lock: LockFacts) -> tuple[list[ListedTask], bool]:
        """Those that name it among the first of the queue, and those that the lock names."""
        listed = self._queues.tasks(ACTIONS_QUEUE, LOOKED_THROUGH)
        names = {node.name, node.uuid}
        mine = {task.id: task for task in listed if names.intersection(_texts(_first_argument(task)))}
        parties = [holder.task for holder in lock.holders] + [waiter.task for waiter in lock.waiters[:JUDGED]]
        for task_id in parties:
            if task_id and task_id not in mine and (task := self._find(task_id)):
                mine[task_id] = task
        complete = all(sum(task.state == state for task in listed) < LOOKED_THROUGH for state in _WAITING)
        return list(mine.values()), complete

    def _find(self, task_id: str) -> ListedTask | None:
        try:
            return self._queues.find(task_id)
        except NoSuchTask:
            return None

    def subcloud(self, name: str) -> SubcloudFacts | None:
        """A subcloud, with the message of its initial sync."""
        told = self._session.execute(select(Subcloud, server_now()).where(Subcloud.name == name)).one_or_none()
        if told is None:
            return None
        row, now = told
        queue = _queue_of(name)
        listed = (task for task in self._queues.tasks(queue, LOOKED_THROUGH) if task.name == SYNCHRONISE)
        message = next((task for task in listed if _first_argument(task) == name), None)
        facts = self._facts_of(message) if message else None
        return SubcloudFacts(row, now, self._lock(f"subcloud:{name}"), facts, self._queue(queue))

    # -- names that are like an unknown one

    def known_names(self, most: int) -> Iterable[str]:
        """Names of nodes and subclouds, and ids of tasks, `most` of each kind and queue."""
        yield from self._session.scalars(select(Node.name).order_by(Node.name).limit(most))
        yield from self._session.scalars(select(Subcloud.name).order_by(Subcloud.name).limit(most))
        for queue in self._queues.occupied():
            yield from (task.id for task in self._queues.tasks(queue, LOOKED_THROUGH))


_WAITING = ("ready", "delayed", "parked")


def _worker(seen: Seen, queue: str, look: Look) -> WorkerFacts:
    report = seen.report
    assert report is not None  # noqa: S101 - the caller has looked
    held = next((held for held in look.consumers if held.consumer == report.consumer), None)
    lost = bool(report.consumer) and (held is None or held.lease_left < 0)
    return WorkerFacts(
        name=seen.name,
        stage=Stage.LOST if lost else report.stage,
        consumes=queue in report.queues,
        slots=report.slots,
        held=held.count if held else 0,
        tasks=held.tasks if held else (),
        silent=seen.age or 0.0,
    )


def _first_argument(task: ListedTask) -> Any:
    """What a task is for; None when nobody can read it."""
    try:
        return json.loads(json.loads(task.payload)["body"])[0][0]
    except (ValueError, LookupError, TypeError):
        return None


def _texts(value: object) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, str)]


def _queue_of(subcloud: str) -> str:
    route = initial_sync_router(SYNCHRONISE, app.settings.initial_sync_queues)
    return str((route(SYNCHRONISE, (subcloud, 0), {}, {}) or {})["queue"])
