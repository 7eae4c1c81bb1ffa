"""The errors of the task system, one tree; locks, inventory and drivers have trees of their own."""


class FleetringError(Exception):
    """Something about settings, tasks or their environment is wrong; the text says what to do."""


class SettingsError(FleetringError, ValueError):
    """One or more settings are unknown or impossible; raised before anything starts."""


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
