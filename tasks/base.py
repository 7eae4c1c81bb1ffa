"""What every task of the application can do: exact priorities, and going back into its queue."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Reject, Retry
from celery.result import AsyncResult

from tasks.priority import Priority, validated


class FleetTask(Task):  # type: ignore[type-arg]  # celery-types makes Task generic, celery does not
    """The base of every task of the application.

    A priority is any integer, the lower number goes first. Each task class has a default, ``default_priority``, and
    each call may pass its own.
    """

    abstract = True
    default_priority: int = Priority.NORMAL

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
        """
        asked = options.pop("priority", None)
        priority = validated(self.name, self.default_priority if asked is None else asked)
        return super().apply_async(tuple(args or ()), dict(kwargs or {}), priority=priority, **options)

    @property
    def current_priority(self) -> int:
        """The priority that the running task was sent with."""
        sent_with = (self.request.delivery_info or {}).get("priority")
        return self.default_priority if sent_with is None else int(sent_with)

    def defer(self, *, delay: float, reason: Exception, priority: int | None = None) -> NoReturn:
        """Put the running task back into its queue, to run again after a delay; this uses up no retry.

        Args:
            delay: how long it stays away, in seconds.
            priority: the priority from then on. Defaults to the present one.
            reason: why; its text stands in the task's state until it runs again, and it is what is raised
                where there is no queue to go back to (eager mode, a direct call).

        Raises:
            Retry: this is how Celery ends the run.
            Reject: the task could not be sent again; the broker keeps the message of this run.
        """
        if self.request.is_eager or self.request.called_directly:
            raise reason
        again = self.signature_from_request(
            self.request,
            countdown=delay,
            retries=self.request.retries,
            priority=self.current_priority if priority is None else priority,
        )
        try:
            again.apply_async()
        except Exception as error:
            raise Reject(error, requeue=True) from error
        raise Retry(exc=reason, when=delay)  # type: ignore[arg-type]  # its type wants numbers.Real
