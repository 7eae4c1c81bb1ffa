"""The errors of the task system, one tree; locks, inventory and drivers have trees of their own."""

from collections.abc import Iterable

from click import ClickException
from kombu.utils.url import maybe_sanitize_url


class FleetringError(Exception):
    """Something about settings, tasks or their environment is wrong; the text says what to do."""


class SettingsError(FleetringError, ClickException):
    """One or more settings are unknown or impossible; raised before anything starts.

    It is click's, too, so that Celery's own commands print it as one sentence.
    """

    exit_code = 2


class BrokerUnreachable(FleetringError):
    """The broker does not answer."""

    def __init__(self, url: str, reason: object) -> None:
        super().__init__(
            f"the broker {maybe_sanitize_url(url)} does not answer: {reason}. Start it, or a private one with "
            "`fleetring up`, or change the setting broker_url (FLEETRING_BROKER_URL)"
        )


class InvalidPriority(FleetringError, TypeError):
    """A task was sent with a priority that is not an integer."""

    def __init__(self, task: str, priority: object) -> None:
        super().__init__(
            f"task {task} was sent with priority {priority!r}, which is not an integer; "
            "pass a number (lower goes first) or one of tasks.Priority"
        )


class InvalidArguments(FleetringError, TypeError):
    """An action was sent with arguments that its body does not take."""


class NoNodesGiven(FleetringError, ValueError):
    """An action or a task manager was given an empty list of nodes."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was given no node; pass a node's name or UUID, or a list of them")


class InvalidPeriodicTask(FleetringError, ValueError):
    """A periodic task was declared with options that cannot work."""


class NotInTask(FleetringError, RuntimeError):
    """Something that belongs to a running task was used outside of one."""

    def __init__(self) -> None:
        super().__init__("tasks.current is the task that runs here, and none does: use it inside a task's body only")


class MismatchedBatch(FleetringError, ValueError):
    """A batch of tasks came with a list of priorities or of ids that has another length."""


class UnknownQueue(FleetringError, LookupError):
    """A verb of the work pool named a queue that nobody ever declared."""


class QueueInactive(FleetringError):
    """Waiting for a queue to become quiet would never end: it holds tasks and starts none."""


class QuiesceTimeout(FleetringError, TimeoutError):
    """A queue did not become quiet in time."""


class UnknownPeriodicTask(FleetringError, ValueError):
    """No periodic task has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown periodic task {name!r}; known are: {', '.join(sorted(known)) or 'none'}")


class PeriodicTaskExited(FleetringError):
    """The body of a periodic task tried to end its process; only its run has ended."""

    def __init__(self, task: str, reason: BaseException) -> None:
        super().__init__(
            f"periodic task {task} raised {type(reason).__name__}({reason}), which would end its worker; "
            "let its body return, or raise an ordinary error"
        )
