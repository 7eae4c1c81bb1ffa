"""Dead letters inside a worker: why a task becomes one, and how its caller and Flower learn of it."""

import logging
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined] # missing in its stubs
from celery import Celery, states
from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.worker.request import Request
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.transport.virtual import Message
from kombu.utils.json import loads

from tasks.transport.errors import DeadLettered
from tasks.transport.scripts import call

logger = logging.getLogger(__name__)

STOCK_REQUEST = "celery.worker.request:Request"

UNREADABLE = (ContentDisallowed, DecodeError, ValueError, LookupError, TypeError, AttributeError)
"""What reading a message that may contain anything can raise."""


class ExplainedRequest(Request):
    """A request that tells why its task is given back: a lost process, or what the task itself rejected."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Remember the exception, then do as Celery does."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        explain(self.message, f"{type(error).__name__}: {error}")
        return super().on_failure(exc_info, *args, **kwargs)


def explain(message: Any, trouble: str) -> None:
    """Remember what went wrong with `message`, in case that it is rejected."""
    consumer = getattr(message.channel, "identity", None)
    if consumer is not None:
        consumer.explain(message.delivery_tag, trouble)


def explain_requests(app: Celery) -> None:
    """Let the tasks of `app` run as `ExplainedRequest`; one with a request class of its own keeps that."""
    for task in app.tasks.values():
        if task.Request == STOCK_REQUEST:
            task.Request = ExplainedRequest  # type: ignore[assignment] # Celery takes a class or its name


def explain_refusals(consumer: Any) -> None:
    """Make `consumer` remember why it rejects a message that is no task."""
    consumer.on_unknown_message = _explained(consumer, "on_unknown_message", "its headers name no task")
    consumer.on_unknown_task = _explained(consumer, "on_unknown_task", "no task of this name is known here")
    consumer.on_invalid_task = _explained(consumer, "on_invalid_task", "it cannot become a request")


def _explained(consumer: Any, method: str, trouble: str) -> Callable[..., Any]:
    refuse = getattr(type(consumer), method)

    def explain_and_refuse(body: Any, message: Any, *error: Exception) -> Any:
        explain(message, ": ".join([trouble, *(f"{type(one).__name__}({one})" for one in error)]))
        return refuse(consumer, body, message, *error)

    return explain_and_refuse


class Obituary:
    """Tells what must be known of a dead letter: FAILURE to its caller, ``task-failed`` to those who watch.

    A result that is final already stays. What cannot be told is logged, for the worker goes on in any case.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._tasks = consumer.task_consumer  # the worker forgets it when it ends, before all is settled

    def __call__(self, death: DeadLettered) -> None:
        """Tell of one dead letter."""
        logger.error("%s.", death)
        try:
            self._store(death)
            if self._consumer.event_dispatcher:
                told = {"uuid": death.task_id, "exception": repr(death), "traceback": ""}
                self._consumer.event_dispatcher.send("task-failed", **told)
        except Exception:  # whatever the result backend answers
            logger.exception("Nobody could be told that task %s is a dead letter.", death.task_id)

    def _store(self, death: DeadLettered) -> None:
        backend = self._consumer.app.backend
        if isinstance(backend, DisabledBackend):
            return
        if backend.get_task_meta(death.task_id, cache=False)["status"] in states.READY_STATES:
            return
        request = self._request(death)
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
        with channel.conn_or_acquire() as client:
            found = call(client, "letter", death.task_id)
        try:
            _, payload = found[1].split(b"\n", 1)
            message = Message(loads(payload.decode()), channel=channel, accept=self._tasks.accept)
            args, kwargs, embed = message.decode()
            return Context({**message.properties, **message.headers, **embed}, args=args, kwargs=kwargs)
        except UNREADABLE as error:
            logger.info("Dead letter %s is told without its chain: %r", death.task_id, error)
            return None
