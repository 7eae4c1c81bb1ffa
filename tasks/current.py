"""The task that is running here: what any task of the application may ask of itself and tell about itself."""

from typing import NoReturn

from tasks.app import app
from tasks.base import FleetTask
from tasks.errors import NotInTask


class TaskControls:
    """What the body of a running task can use; ``tasks.current`` and the ``task`` of a node action share it."""

    @property
    def _running(self) -> FleetTask:
        raise NotImplementedError

    @property
    def priority(self) -> int:
        """The priority that this run was claimed with."""
        return self._running.current_priority

    def defer(self, priority: int | None = None, delay: float | None = None) -> NoReturn:
        """Go back into the queue, with the same id and arguments, as a new arrival; this call does not return.

        It uses up no retry.

        Args:
            priority: the priority from then on. Defaults to the present one.
            delay: how long to stay away, in seconds. Defaults to 0.5 to 1.5, at random.
        """
        self._running.defer(priority=priority, delay=delay)

    def should_terminate(self) -> bool:
        """Tell whether this run is asked to end soon: cancelled, its queue without slots, its worker shutting down."""
        return self._running.should_terminate()

    def set_name(self, name: str | None) -> None:
        """Say in logs and events what this run works on; None takes that back, and so does the end of the task."""
        self._running.set_name(name)

    def progress(self, done: float, total: float, message: str = "") -> None:
        """Tell whoever watches how far the work is.

        Args:
            done: how much is done, 0 to total.
            total: how much there is to do.
            message: what is being done. Defaults to nothing.
        """
        self._running.progress(done, total, message)


class CurrentTask(TaskControls):
    """The controls of whatever task runs where they are used.

    Raises:
        NotInTask: at every use outside a task.
    """

    @property
    def _running(self) -> FleetTask:
        task = app.current_task
        if not isinstance(task, FleetTask):
            raise NotInTask
        return task


#: The controls of the running task.
current = CurrentTask()
