"""How a worker gives tasks back: why a delivery is refused, and what happens when a task ends its process or thread."""

from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback  # type: ignore[attr-defined] # missing in its stubs
from celery import Celery
from celery.worker.state import task_ready

from tasks.transport.parking import ParkableRequest

STOCK_REQUEST = "celery.worker.request:Request"


class OutOfMemory(Exception):
    """A task raised MemoryError: Celery takes that for an error of the worker's own, and ends the worker."""


class ExplainedRequest(ParkableRequest):
    """A request that tells why its task is given back, and that ends whatever the task raises.

    A task that raises SystemExit or KeyboardInterrupt becomes a dead letter at once: run again, it would only end one
    process after the other. In a pool of threads, or of none, Celery would wait for its end for ever.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.on_success = _ends_in_any_case(cls.on_success)  # type: ignore[method-assign] # Celery derives one a task

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Remember the exception, then do as Celery does."""
        error = _error_in(exc_info)
        explain(self.message, f"{type(error).__name__}: {error}")
        if isinstance(error, SystemExit | KeyboardInterrupt) and self._ended_itself():
            return self._end_by_itself(repr(error))
        if isinstance(error, MemoryError):
            exc_info.exception = OutOfMemory(f"the task raised {error!r}")
        return super().on_failure(exc_info, *args, **kwargs)

    def _ended_itself(self) -> bool:
        """Tell whether the end came out of the task: nobody asked for it, and the message is still ours to settle."""
        stopped = self._already_cancelled or self._already_revoked  # type: ignore[attr-defined] # missing in its stubs
        return bool(self.task.acks_late) and not stopped

    def _end_by_itself(self, how: str) -> None:
        task_ready(self)
        explain(self.message, f"the task ended its process: {how}")
        self.reject(requeue=False)


def _error_in(exc_info: Any) -> BaseException:
    error = exc_info.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error  # type: ignore[no-any-return] # as above


def _ends_in_any_case(on_success: Callable[..., Any]) -> Callable[..., Any]:
    def on_end(self: ExplainedRequest, outcome: Any, **kwargs: Any) -> Any:
        # a pool without processes hands over what the task raised as if it were a result
        if isinstance(outcome, ExceptionInfo):
            return self._end_by_itself(str(_error_in(outcome)))
        return on_success(self, outcome, **kwargs)

    return on_end


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
