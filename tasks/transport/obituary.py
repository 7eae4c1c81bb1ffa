"""How the caller of a dead letter, and Flower, learn of it."""

import logging
from typing import Any

from celery import states
from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.utils.dispatch import Signal
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.transport.virtual import Message
from kombu.utils.json import loads

from tasks.transport.errors import DeadLettered

logger = logging.getLogger(__name__)

buried = Signal(name="buried", providing_args=["request"])
"""Sent in the worker that tells of a dead letter, maybe again, with the task's request; None if that is unreadable."""

UNREADABLE = (ContentDisallowed, DecodeError, ValueError, LookupError, TypeError, AttributeError)
"""What reading a message that may contain anything can raise."""


class Obituary:
    """Tells what must be known of a dead letter: FAILURE to its caller, ``task-failed`` to those who watch.

    A result that is final already stays. What cannot be told is logged, for the worker goes on in any case.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._tasks = consumer.task_consumer  # the worker forgets it when it ends, before all is settled

    def __call__(self, death: DeadLettered) -> bool:
        """Tell of one dead letter; returns whether that succeeded."""
        logger.error("%s.", death)
        try:
            request = self._request(death)
            buried.send(sender=self._consumer.app, request=request)
            self._store(death, request)
            if self._consumer.event_dispatcher:
                told = {"uuid": death.task_id, "exception": repr(death), "traceback": ""}
                self._consumer.event_dispatcher.send("task-failed", **told)
        except Exception:  # whatever the result backend answers
            logger.exception("Nobody could be told yet that task %s is a dead letter.", death.task_id)
            return False
        return True

    def _store(self, death: DeadLettered, request: Context | None) -> None:
        backend = self._consumer.app.backend
        if isinstance(backend, DisabledBackend):
            return
        if backend.get_task_meta(death.task_id, cache=False)["status"] in states.READY_STATES:
            return
        backend.mark_as_failure(death.task_id, death, request=request, store_result=not self._ignored(request))

    def _ignored(self, request: Context | None) -> bool:
        """Tell whether nobody wants the result: the message says so, else the task, else the configuration."""
        app = self._consumer.app
        task = app.tasks.get(request.get("task")) if request else None
        told = request.ignore_result if request else None
        return bool(getattr(task, "ignore_result", app.conf.task_ignore_result) if told is None else told)

    def _request(self, death: DeadLettered) -> Context | None:
        """Read back what Celery needs to fail the rest of a chain or a chord; None when that is unreadable."""
        channel = self._tasks.channel
        found = channel.call("letter", death.task_id)
        try:
            _, payload = found[1].split(b"\n", 1)
            message = Message(loads(payload.decode()), channel=channel, accept=self._tasks.accept)
            args, kwargs, embed = message.decode()
            return Context({**message.properties, **message.headers, **embed}, args=args, kwargs=kwargs)
        except UNREADABLE as error:
            logger.info("Dead letter %s is told without its chain: %r", death.task_id, error)
            return None
