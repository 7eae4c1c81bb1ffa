"""A result that is cheap to make: a batch makes thousands, of which most callers want no more than the id."""

from functools import cached_property
from typing import Any

from celery.result import AsyncResult
from vine import promise


class Result(AsyncResult[Any]):
    """Celery's result, but for its promise, which is made when somebody asks for it.

    Raises:
        ValueError: there is no id.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - as in Celery
        backend: Any = None,
        task_name: str | None = None,
        app: Any = None,
        parent: Any = None,
    ) -> None:
        if id is None:
            raise ValueError("a result has the id of its task, which is not None")
        if app is not None:
            self.app = app
        self.id = id
        self.backend = backend or self.app.backend
        self.parent = parent
        self._cache = None
        self._ignored = False

    @cached_property
    def on_ready(self) -> Any:  # type: ignore[override] # Celery's stubs have it writable, and nobody writes it
        """What is done when the task has ended."""
        return promise(self._on_fulfilled, weak=True)  # type: ignore[attr-defined] # missing in its stubs
