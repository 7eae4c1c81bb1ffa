"""How a running task learns that its worker is draining, in whatever process or thread of the worker it runs."""

import mmap
from typing import Any

from celery import bootsteps


class Drain:
    """One byte of memory that a worker shares with the processes of its pool, which it forks later."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    @property
    def begun(self) -> bool:
        """True from the moment at which the worker began to drain or to shut down."""
        return self._memory[0] == 1

    def begin(self) -> None:
        """Tell everybody."""
        self._memory[0] = 1

    def end(self) -> None:
        """Take it back: the worker goes on after all."""
        self._memory[0] = 0


class AnnounceDrain(bootsteps.StartStopStep):
    """Boot step of the worker that announces its shutdown before it waits for its tasks."""

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        worker.app.drain = Drain()

    def close(self, worker: Any) -> None:
        """The worker begins to shut down."""
        worker.app.drain.begin()
