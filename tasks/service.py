"""A worker's life as an application sees it: hooks at its start and end, and what the worker can do."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from celery import bootsteps
from celery.exceptions import WorkerShutdown
from celery.platforms import EX_FAILURE
from celery.utils.log import get_logger
from celery.worker.components import Pool

from partitioning import initial_sync_queues
from tasks.errors import InvalidCapabilities, SettingsError
from tasks.settings import SINGLE_QUEUES

logger = get_logger(__name__)


class Manager:
    """The hooks of a worker, which all do nothing; the setting ``manager`` names a subclass that does something.

    They run once a worker process, in its main process, in the order in which they stand here; a lost connection to
    the broker repeats none. What a hook of the start raises aborts the start, with exit status 1. After nova's Manager.

    Args:
        host: the worker's name.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._capabilities: tuple[Mapping[str, Any], ...] = ()

    def init_host(self) -> None:
        """Prepare the host; nobody else knows of this worker yet. The pool's processes have been forked already."""

    def pre_start_hook(self) -> None:
        """The worker is a member of its group and in the register; it consumes nothing yet."""

    def post_start_hook(self) -> None:
        """The worker consumes its queues."""

    def cleanup_host(self) -> None:
        """The worker has ended its tasks, and is about to leave; what this raises is logged."""

    @property
    def capabilities(self) -> Sequence[Mapping[str, Any]]:
        """What the worker publishes beside its drivers, queues and slots."""
        return self._capabilities

    def update_capabilities(self, capabilities: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> None:
        """Say what this worker can do; it is published within seconds, and for as long as the worker lives.

        Args:
            capabilities: one mapping of JSON values, or several; None withdraws what was said before.

        Raises:
            InvalidCapabilities: they are something else.
        """
        given = capabilities or ()
        listed = [given] if isinstance(given, Mapping) else list(given)
        if not all(isinstance(one, Mapping) for one in listed):
            raise InvalidCapabilities(capabilities)
        try:
            self._capabilities = tuple(json.loads(json.dumps(listed)))
        except (TypeError, ValueError) as error:
            raise InvalidCapabilities(capabilities) from error


def load_manager(spec: str) -> type[Manager]:
    """Import the class that the setting ``manager`` names.

    Raises:
        SettingsError: it can't be imported, or is no Manager.
    """
    module_name, _, name = spec.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:
        raise SettingsError(
            f"setting manager = {spec!r} is impossible: {module_name} cannot be imported: {error!r}"
        ) from error
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Manager)):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, Manager)]
        near = difflib.get_close_matches(name, classes, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(
            f"setting manager = {spec!r} is impossible: {module_name} has no subclass {name} of "
            f"tasks.service.Manager{hint}"
        )
    return found


def run_hook(hook: Callable[[], object]) -> None:
    """Run a hook of the start.

    Raises:
        WorkerShutdown: it failed, and the start with it.
    """
    name = getattr(hook, "__qualname__", repr(hook))
    logger.debug("Running the hook %s", name)
    try:
        hook()
    except (Exception, SystemExit) as error:
        logger.critical("The worker does not start: its hook %s failed: %s: %s", name, type(error).__name__, error)
        logger.info("Where the hook failed:", exc_info=error)
        raise WorkerShutdown(EX_FAILURE) from error


class InitHost(bootsteps.StartStopStep):
    """Boot step of the worker that makes its manager and prepares the host, before anybody knows of the worker."""

    requires = (Pool,)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        worker.manager = None
        self._class = load_manager(worker.app.settings.manager)

    def start(self, worker: Any) -> None:
        """Run ``init_host``."""

        def make() -> None:
            worker.manager = self._class(worker.hostname)

        make.__qualname__ = f"{self._class.__qualname__}.__init__"
        run_hook(make)
        run_hook(worker.manager.init_host)


class ConsumeConfiguredQueues(bootsteps.Step):
    """Makes a worker that was started without ``-Q`` or ``-X`` consume the groups of queues in its settings.

    The dedicated queues are not consumed from the start: the worker divides them with the other members of their group.
    """

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        queues, settings = worker.app.amqp.queues, worker.app.settings
        if set(queues.consume_from) != set(queues):
            return  # somebody has chosen
        worker.divides_initial_syncs = "initial-sync" in settings.consume
        queues.deselect(initial_sync_queues(settings.initial_sync_queues))
        queues.deselect(set(SINGLE_QUEUES).difference(settings.consume))
        logger.debug("consuming the queues of the groups %s", ", ".join(settings.consume))
