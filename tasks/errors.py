"""The errors of the task system, one tree; locks, inventory and drivers have trees of their own."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from click import ClickException
from kombu.utils.url import maybe_sanitize_url


class FleetringError(Exception):
    """Something about settings, tasks or their environment is wrong; the text says what to do."""


class SettingsError(FleetringError, ClickException):
    """One or more settings are unknown or impossible; raised before anything starts.

    It is click's, too, so that Celery's own commands print it as one sentence.
    """

    exit_code = 2


class PluginError(FleetringError, ClickException):
    """A package or module with a user's actions does not load.

    It is click's, too, so that Celery's own commands print it as one sentence.
    """

    exit_code = 2


class UnknownName(FleetringError, LookupError):
    """No task, node or subcloud has the name."""

    def __init__(self, name: str, near: Sequence[str]) -> None:
        like = f"did you mean {', '.join(map(repr, near))}?" if near else "a task that has ended is known for a day"
        super().__init__(f"no task, node or subcloud is called {name!r}; {like}")


class DuplicateAction(FleetringError, ValueError):
    """Two actions were given one name, of which a worker would run only the first."""

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(
            f"action {name} is declared twice, by {first} and by {second}; give one of them another name: "
            "@node_action(name=...)"
        )


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


class NodesBusy(FleetringError):
    """The nodes of a parked action are locked; the text says by whom. It is what the state of a parked task shows."""


class LocksSilent(FleetringError):
    """An action could not ask for the lock on its nodes, and is parked until it can; the text says what is wrong."""


class NoNodesGiven(FleetringError, ValueError):
    """An action or a task manager was given an empty list of nodes."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was given no node; pass a node's name or UUID, or a list of them")


class InvalidOnBusy(FleetringError, ValueError):
    """What is to be done about busy nodes is none of what can be done."""

    def __init__(self, what: str, on_busy: object, legal: Iterable[str]) -> None:
        parking = "; only an action can be parked: send one instead" if on_busy == "park" else ""
        super().__init__(f"{what} was given on_busy={on_busy!r}; legal are {', '.join(legal)}{parking}")


class InvalidHandOver(FleetringError, ValueError):
    """A task can't take over the lock that it was promised, or was sent with."""

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(task, reason)  # as they came, so that the error survives the way back to who waits for it
        self.task = task
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.task} can't take over the lock: {self.reason}"


class InvalidResult(FleetringError, TypeError):
    """An action returned what JSON can't hold; what it did is done, but nobody can be told what came of it."""

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(action, reason)
        self.action = action
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.action} did its work, but returned what JSON can't hold: {self.reason}; return plain values"


class InvalidMap(FleetringError, ValueError):
    """An action can't be run on every node of a task."""

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(action, reason)
        self.action = action
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.action} can't run on every node of the task: {self.reason}"


class NodesFailed(FleetringError):
    """An action that was run on every node of a task failed on some; the errors themselves are its cause's.

    Attributes:
        action: the action's name.
        states: what it returned, by the names of the nodes where it went well.
        errors: what went wrong, by the names of the others.
    """

    def __init__(self, action: str, states: Mapping[str, Any], errors: Mapping[str, str]) -> None:
        super().__init__(action, states, errors)
        self.action = action
        self.states = states
        self.errors = errors

    def __str__(self) -> str:
        told = "; ".join(f"{name}: {error}" for name, error in self.errors.items())
        return f"{self.action} failed on {len(self.errors)} of {len(self.errors) + len(self.states)} nodes: {told}"


class InvalidPeriodicTask(FleetringError, ValueError):
    """A periodic task was declared with options that cannot work."""


class InvalidCapabilities(FleetringError, TypeError):
    """A worker's manager gave capabilities that cannot be published."""

    def __init__(self, capabilities: object) -> None:
        super().__init__(
            f"capabilities {capabilities!r} cannot be published: give a mapping of JSON values, or a list of such"
        )


class UnknownWorker(FleetringError, LookupError):
    """No worker has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are: {', '.join(names) or 'none'}"
        super().__init__(f"no worker {name!r} is known; {hint}")


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


class NoWorkerToRun(FleetringError):
    """A periodic task of the workers' own schedules was to run now, and no live worker has it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no live worker has periodic task {name} in its schedule; start a worker, or look at its log")


class PeriodicTaskExited(FleetringError):
    """The body of a periodic task tried to end its process; only its run has ended."""

    def __init__(self, task: str, reason: BaseException) -> None:
        super().__init__(
            f"periodic task {task} raised {type(reason).__name__}({reason}), which would end its worker; "
            "let its body return, or raise an ordinary error"
        )


class KeysNotEverywhere(FleetringError):
    """The keys were not rotated: some subclouds may lack the key that would become the primary one."""

    def __init__(self, subclouds: Sequence[str]) -> None:
        some = ", ".join(subclouds[:3]) + (" and others" if len(subclouds) > 3 else "")
        super().__init__(
            f"{len(subclouds)} subclouds were not seen with the present keys ({some}), and would refuse tokens of the "
            "next one: look at `fleetring audits list`, audit them, then rotate again"
        )
