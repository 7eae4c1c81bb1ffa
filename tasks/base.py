"""What every task of the application can do: exact priorities, and what a running task can ask and tell."""

import math
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NoReturn

from celery import Task, signals
from celery.exceptions import Reject, Retry
from celery.result import AsyncResult
from celery.utils.imports import symbol_by_name
from celery.utils.log import get_task_logger

from locking import LockMode
from tasks.admission import SILENCE, naming_the_broker
from tasks.app import app
from tasks.errors import InvalidArguments
from tasks.priority import Priority, validated
from tasks.sending import Call
from tasks.transport import ParkableRequest, Parked

logger = get_task_logger(__name__)

#: A deferred task stays away for this many seconds, at random, so that one which is alone doesn't spin, and several
#: don't come in step.
DEFER_DELAY = (0.5, 1.5)

#: For so many seconds a task believes that nobody asked it to end.
STOP_BELIEVED = 1.0

Arguments = tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]


class Deferred(Exception):
    """A task asked to be put back into its queue."""


@dataclass
class Run:
    """What is remembered for as long as one run of a task lasts."""

    stopping: bool = False
    believed_until: float = -math.inf
    thread_name: str = field(default_factory=lambda: threading.current_thread().name)


class FleetTask(Task):  # type: ignore[type-arg]  # celery-types makes Task generic, celery does not
    """The base of every task of the application.

    A priority is any integer, the lower number goes first. Each task class has a default, ``default_priority``, and
    each call may pass its own.
    """

    abstract = True
    default_priority: int = Priority.NORMAL
    #: How it holds the nodes that its first argument names while it runs; None for a task that holds none.
    mode: LockMode | None = None

    # -- sending

    def apply_async(  # type: ignore[override]  # options go by name only
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Send the task; the options are Celery's.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            options: Celery's options; ``priority`` is any integer, lower goes first. Defaults to the task's own.

        Raises:
            InvalidPriority: the priority is not an integer.
            QueueClosed: the queue is being quiesced, and refuses new tasks.
            QueueFull: the queue takes no new work.
            BrokerUnreachable: the broker does not answer.
        """
        call = self.as_call(args or (), kwargs or {}, options)
        with naming_the_broker():
            sent = app.moulds.send(call)
            return call.leave_to_celery() if sent is None else sent

    def as_call(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Call:
        """Return a call of this task, complete and checked as `prepare` does."""
        prepared = self.prepare(args, kwargs, options)
        return Call(self, super().apply_async, *prepared, self.ordering(*prepared))

    def prepare(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Arguments:
        """Check a call and complete it; whatever sends the task, ``apply_async`` or the work pool, sends the answer.

        Raises:
            InvalidPriority: the priority is not an integer.
            InvalidArguments: a task that follows in a chain does not take its arguments.
        """
        for follower in options.get("chain") or ():
            task = app.tasks.get(follower["task"])
            if isinstance(task, FleetTask):
                task.check_follower(follower)
        asked = options.get("priority")
        priority = validated(self.name, self.default_priority if asked is None else asked)
        return tuple(args), dict(kwargs), {**options, "priority": priority}

    def ordering(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        """Return the order of a call, as `prepare` returned it, among others; empty if it may run beside any other."""
        return ""

    def check_follower(self, call: Mapping[str, Any]) -> None:
        """Check a call of this task that follows in a chain, when the chain is sent; raises what is wrong with it."""

    # -- running

    @property
    def current_priority(self) -> int:
        """The priority that the running task was claimed with."""
        claimed_with = (self.request.delivery_info or {}).get("priority")
        return self.default_priority if claimed_with is None else int(claimed_with)

    @property
    def arrival(self) -> float | None:
        """When the running task arrived in its queue, in seconds since 1970 by the broker's clock; None outside one."""
        arrived: float | None = (self.request.get("properties") or {}).get("arrival")
        return arrived

    @property
    def runs_in_worker(self) -> bool:
        """True inside a task that a worker runs; False in eager mode and in a direct call."""
        return not (self.request.is_eager or self.request.called_directly)

    @property
    def _run(self) -> Run:
        run: Run = vars(self.request).setdefault("fleetring_run", Run())
        return run

    def defer(
        self, *, priority: int | None = None, delay: float | None = None, reason: Exception | None = None
    ) -> NoReturn:
        """Put the running task back into its queue, as a new arrival, to start over; this uses up no retry.

        Args:
            priority: the priority from then on. Defaults to the present one.
            delay: how long it stays away, in seconds, from 0. Defaults to 0.5 to 1.5, at random.
            reason: why; its text stands in the task's state until it runs again, and it is what is raised
                where there is no queue to go back to (eager mode, a direct call). Defaults to `Deferred`.

        Raises:
            Retry: this is how Celery ends the run.
            Reject: the task could not be sent again; the broker keeps the message of this run.
            InvalidPriority: the priority is not an integer.
            InvalidArguments: the delay is no number of seconds.
        """
        reason = reason or Deferred(self.name)
        again_with = validated(self.name, self.current_priority if priority is None else priority)
        away = random.uniform(*DEFER_DELAY) if delay is None else _seconds(delay)  # noqa: S311 - spreads load only
        if not self.runs_in_worker:
            raise reason
        again = self.signature_from_request(
            self.request, countdown=away, retries=self.request.retries, priority=again_with
        )
        try:
            again.apply_async()
        except Exception as error:
            raise Reject(error, requeue=True) from error
        raise Retry(exc=reason, when=away)  # type: ignore[arg-type]  # its type wants numbers.Real

    def take_place(self) -> None:
        """Let go on whoever comes after the running task: it has what they want, or stands in front of them for it."""
        turning = (self.request.get("properties") or {}).get("turning")
        if turning is None:
            return
        try:
            with app.queues() as queues:
                queues.placed(turning)
        except SILENCE as error:
            logger.warning("those that come after the task wait until it has ended: %s", error)

    @property
    def can_be_parked(self) -> bool:
        """Whether a worker runs the task, and could set its message aside."""
        request = symbol_by_name(self.Request)
        return bool(self.runs_in_worker and self.acks_late and issubclass(request, ParkableRequest))

    def park(self, reason: Exception) -> NoReturn:
        """End this run, and set the task aside until somebody unparks it; its place among its equals is kept.

        Args:
            reason: what it waits for; its text stands in the task's state until it runs again.

        Raises:
            Parked: this is how the run ends.
        """
        raise Parked(f"parked: {reason}", exc=reason)

    def should_terminate(self) -> bool:
        """Tell whether the running task is asked to end soon; it may go on, or defer itself, all the same.

        It is when the task was cancelled, when its queue was resized to no slots, and when its worker is shutting
        down. The broker is asked at most once a second; while it is silent the last answer holds.
        """
        if app.drain is not None and app.drain.begun:
            return True
        run = self._run
        if self.runs_in_worker and not run.stopping and monotonic() >= run.believed_until:
            run.believed_until = monotonic() + STOP_BELIEVED
            run.stopping = self._asked_to_stop()
        return run.stopping

    def _asked_to_stop(self) -> bool:
        queue = str((self.request.delivery_info or {}).get("routing_key"))
        try:
            with app.queues() as queues:
                return queues.is_stopping(str(self.request.id), queue)
        except SILENCE as error:
            logger.warning("the broker could not be asked whether the task is to end: %s", error)
            return False

    def set_name(self, name: str | None) -> None:
        """Say in the logs and events what the running task works on, until it ends.

        Args:
            name: what the thread is called, behind its own name; None or nothing takes that back.
        """
        signals.task_postrun.connect(_take_name_back, dispatch_uid="fleetring.set_name")
        own = self._run.thread_name
        threading.current_thread().name = f"{own}/{name}" if name else own
        if self.runs_in_worker:
            self.send_event("task-named", name=name or "")

    def take_name_back(self) -> None:
        """Give the thread its own name again."""
        threading.current_thread().name = self._run.thread_name

    def progress(self, done: float, total: float, message: str = "") -> None:
        """Tell whoever watches how far the work is, as the task's state ``PROGRESS`` and as an event.

        Args:
            done: how much is done, 0 to total.
            total: how much there is to do.
            message: what is being done. Defaults to nothing.
        """
        self.update_state(state="PROGRESS", meta={"done": done, "total": total, "message": message})
        if self.runs_in_worker:
            self.send_event("task-progress", done=done, total=total, message=message)


def _take_name_back(sender: FleetTask, **_: Any) -> None:
    if isinstance(sender, FleetTask):
        sender.take_name_back()


def _seconds(delay: object) -> float:
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < math.inf:
        raise InvalidArguments(f"a delay of {delay!r} is not usable: give seconds, 0 or more")
    return float(delay)
