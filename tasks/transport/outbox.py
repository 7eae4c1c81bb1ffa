"""A producer that keeps what it is to send, so that many tasks can leave in one step."""

from typing import Any

from celery import Celery
from redis.exceptions import NoScriptError, ResponseError

from tasks.transport.admin import Queues
from tasks.transport.envelope import MICROSECONDS, envelope
from tasks.transport.errors import refusal
from tasks.transport.producer import Producer
from tasks.transport.records import Announcement, NewTask
from tasks.transport.scripts import ROOT, load, script

EVENTS_AT_ONCE = 500
"""Events in one message: monitors read a message as a whole."""


class Outbox(Producer):
    """Collects the messages that Celery writes, tasks and their ``task-sent`` events, until it is sent.

    Attributes:
        tasks: the tasks that it has collected.
        events: what monitors are to be told of them, each in JSON.
        entities: what the last task needs to be declared.
        announcement: how its event would have travelled.

    Args:
        app: the application whose tasks are sent.
        connection: a connection whose transport is this package's.
    """

    def __init__(self, app: Celery, connection: Any) -> None:
        super().__init__(connection, auto_declare=False)
        self.tasks: list[NewTask] = []
        self.events: list[str] = []
        self.entities: tuple[Any, ...] = ()
        self.announcement: Announcement | None = None
        self._event_exchange = app.conf.event_exchange

    def _publish(self, body: Any, *prepared: Any) -> None:
        """Keep a message that kombu has prepared, and would send now."""
        priority, content_type, encoding, headers, properties, routing_key, _, _, exchange, declare, *_ = prepared
        channel = self.channel
        for entity in declare:
            self.maybe_declare(entity)
        message = channel.prepare_message(body, priority, content_type, encoding, headers, properties)
        if exchange == self._event_exchange:
            self.events.append(body)
            self.announcement = Announcement(exchange, routing_key, message)
            return
        self.entities = tuple(declare)
        channel._inplace_augment_message(message, exchange, routing_key)  # noqa: SLF001 - as basic_publish
        for queue in channel._lookup(exchange, routing_key) if exchange else [routing_key]:  # noqa: SLF001 - as above
            self.tasks.append(_new_task(queue, message))

    def take(self, task: NewTask, event: str | None, announcement: Announcement | None) -> None:
        """Keep a task that is written already, and its event, if there is one."""
        self.tasks.append(task)
        if event is not None:
            self.events.append(event)
            self.announcement = announcement

    def send(self, unique: bool = True) -> None:
        """Send the tasks, all or none, then tell monitors.

        Args:
            unique: whether an id that lives already is an error. Defaults to True. If False, the older task is
                replaced, each task is sent on its own, and they share one round trip.

        Raises:
            DuplicateTask: an id lives already, or occurs twice.
            QueueClosed: a queue is being quiesced.
            QueueFull: a queue takes no new work.
        """
        if unique:
            Queues(self.connection).add(self.tasks)
        else:
            self._publish_all()
        self._announce()

    def _announce(self) -> None:
        if self.announcement is None:
            return
        exchange, _, message = self.announcement
        for first in range(0, len(self.events), EVENTS_AT_ONCE):
            batch = ",".join(self.events[first : first + EVENTS_AT_ONCE])
            self.channel.basic_publish({**message, "body": f"[{batch}]"}, exchange, "task.multi")

    def _publish_all(self) -> None:
        with self.channel.conn_or_acquire() as client:
            bounds = (self.channel.max_queued, self.channel.max_parked)
            pipeline = client.pipeline(transaction=False)
            for task in self.tasks:
                queue, *rest = task.kind
                pipeline.evalsha(
                    script("publish").sha, 1, ROOT, "1", queue, task.id, *rest, task.ordering, task.payload, *bounds
                )
            try:
                pipeline.execute()
            except NoScriptError:
                load(client, "publish")
                self._publish_all()
            except ResponseError as error:
                raise refusal(error) from None


def _new_task(queue: str, message: Any) -> NewTask:
    _, task_id, priority, delay, lifetime, ordering, payload = envelope(queue, message)
    seconds = None if isinstance(lifetime, str) else lifetime / MICROSECONDS
    return NewTask(queue, task_id, payload, priority, delay / MICROSECONDS, seconds, ordering)
