"""What becomes of a result while its store does not answer."""

from typing import Any

from celery import bootsteps


class KeepResults(bootsteps.Step):
    """Makes a worker patient with a silent store of results.

    Celery reads the store before it writes to it, and takes an error of that for one of the task: a task that was about
    to start, or had ended well, would have failed because of a restart of the store. Callers stay impatient.
    """

    #: For about a minute, the pauses being random.
    PATIENCE = {  # noqa: RUF012 - never written to
        "result_backend_always_retry": True,
        "result_backend_max_retries": 60,
        "result_backend_max_sleep_between_retries_ms": 2000,
    }

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        worker.app.conf.update(self.PATIENCE)
        backend = worker.app.backend  # it was made already, and has read the configuration
        for name, value in self.PATIENCE.items():
            setattr(backend, name.removeprefix("result_backend_"), value)
