"""How a run ends whose task is set aside: neither done nor returned, but parked until somebody unparks it."""

from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined] # missing in its stubs
from celery.exceptions import Retry
from celery.worker.request import Request


class Parked(Retry):
    """Raised by a task to be set aside, with its place among its equals kept, until it is unparked.

    To Celery it is a retry that waits for something else than a time: state RETRY with the reason, no failure, no
    retry used up. Only a task that is acknowledged late, and whose requests are `ParkableRequest`, can be parked;
    to others it is a retry that nobody has sent.

    Args:
        message: what the log says.
        exc: why; it stands in the task's state until it runs again.
    """


class ParkableRequest(Request):
    """A request that parks its message where the task asked for it."""

    def on_retry(self, exc_info: Any) -> None:
        """Park the message of a task that is `Parked`, else do as Celery does."""
        ending = exc_info.exception
        if isinstance(ending, ExceptionWithTraceback):
            ending = ending.exc
        if isinstance(ending, Parked) and not self.acknowledged:
            self.message.channel.qos.park(self.message.delivery_tag)
            self.acknowledged = True
        super().on_retry(exc_info)
