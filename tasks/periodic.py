"""Periodic tasks: how they are declared, and how a worker runs their ticks. ``tasks.timekeeper`` sends them."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, overload
from uuid import uuid4

from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.result import AsyncResult
from celery.utils.log import get_task_logger
from kombu import Queue
from redis import RedisError

from locking import ResourceLocked
from partitioning import PartitionCoordinator, Subset
from tasks.app import app
from tasks.base import FleetTask
from tasks.declaration import Declaration, Later, Misfire, Overlap, Scope
from tasks.errors import InvalidPeriodicTask, NoWorkerToRun, PeriodicTaskExited
from tasks.ticks import Ledger, Tick

logger = get_task_logger(__name__)

#: The message header in which a tick travels; a run by hand has none.
TICK_HEADER = "tick"
#: A tick that waits for the run before it looks again after this many seconds.
QUEUED_DELAY = 1.0
#: A worker's own queue ends this many seconds after the last message to it.
OWN_QUEUE_LIFETIME = 3600.0

Body = Callable[..., Any]


def own_queue(worker: str) -> Queue:
    """Return the queue that one worker alone consumes; it ends by itself, so declare it before a message is sent."""
    name = f"worker:{worker}"
    return Queue(name, routing_key=name, expires=OWN_QUEUE_LIFETIME)


class PeriodicTask(FleetTask):
    """A task that beat sends every so often; calling it runs its body here and now, and raises what it raises."""

    abstract = True
    ignore_result = True

    @property
    def declaration(self) -> Declaration:
        """What was declared last under the task's name."""
        return declarations.of(self.name)

    def apply_async(  # type: ignore[override]  # options go by name only
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Send one run of the task to its queue, within its time limits; the options are Celery's.

        Raises:
            BrokerUnreachable: the broker does not answer.
        """
        declared = self.declaration
        return super().apply_async(args, kwargs, **{"queue": self._queue, **declared.time_limits, **options})

    @property
    def _queue(self) -> str | Queue:
        """A run that goes back into its queue stays with its worker."""
        own = self.declaration.scope is not Scope.CLUSTER and self.runs_in_worker
        return own_queue(str(self.request.hostname)) if own else self.declaration.queue

    def run_now(self) -> list[AsyncResult[Any]]:
        """Send one run beside the schedule; one to each worker that has the task in a schedule of its own.

        Raises:
            NoWorkerToRun: no live worker has it there.
        """
        if self.declaration.scope is Scope.CLUSTER:
            return [self.apply_async()]
        workers = [name for name in Ledger(app).workers() if Ledger(app, name).records([self.name])[0].next_due]
        if not workers:
            raise NoWorkerToRun(self.name)
        with app.connection_or_acquire() as connection:
            for worker in workers:
                own_queue(worker)(connection.default_channel).queue_declare()
        return [self.apply_async(queue=own_queue(worker)) for worker in workers]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; in a worker under the task's lock, once a tick. Called directly it gets the whole set."""
        if not self.runs_in_worker:
            return super().__call__(*(args or self._items()), **kwargs)
        header = (self.request.headers or {}).get(TICK_HEADER)
        tick = Tick.parse(header) if header else None
        try:
            lock = app.runtime.locks.acquire(
                f"periodic:{self.name}{f':{self._worker}' if self._worker else ''}",
                lease=app.settings.lock_lease,
                purpose="periodic task",
                task=self.request.id,
            )
        except ResourceLocked as busy:
            return self._give_way(tick, busy)
        with lock:
            return self._run_tick(tick)

    @property
    def _worker(self) -> str:
        """The worker in whose schedule the running tick stands; nothing for one of the whole deployment."""
        return "" if self.declaration.scope is Scope.CLUSTER else str(self.request.hostname)

    def _items(self) -> tuple[Any, ...]:
        """What the body is given: in a worker its share, outside all of the set."""
        declared = self.declaration
        if declared.of is None:
            return ()
        if not self.runs_in_worker:
            return (Subset(declared.of(), None),)
        groups = PartitionCoordinator(app.settings.broker_url)
        groups.start(background=False)
        try:
            view = groups.view(declared.queue)
        finally:
            groups.stop()
        share = view.share_of(self._worker, declared.of())
        logger.debug("Share of %s in periodic task %s at epoch %d: %d", self._worker, self.name, view.epoch, len(share))
        return (share,)

    def _give_way(self, tick: Tick | None, busy: ResourceLocked) -> None:
        if self.declaration.overlap == "queue":
            self.defer(delay=QUEUED_DELAY, reason=busy)
        logger.warning("Skipping a run of periodic task %s, the one before is alive: %s", self.name, busy)
        if tick:
            Ledger(app, self._worker).skip(self.name, tick)

    def _run_tick(self, tick: Tick | None) -> Any:
        ledger, run_id = Ledger(app, self._worker), uuid4().hex
        if not ledger.begin(self.name, run_id, tick):
            logger.info("Tick %s of periodic task %s was covered by an earlier run", tick, self.name)
            return None
        logger.debug("Running periodic task %s", self.name)
        error: BaseException | None = None
        try:
            return self.run(*self._items())
        except BaseException as raised:
            error = raised
            if isinstance(raised, Exception | WorkerShutdown | WorkerTerminate):
                raise
            # SystemExit and its kind would end the worker's child, and every other task with it.
            raise PeriodicTaskExited(self.name, raised) from raised
        finally:
            self._record(ledger, run_id, error)

    def _record(self, ledger: Ledger, run_id: str, error: BaseException | None) -> None:
        try:
            ledger.finish(self.name, run_id, f"{type(error).__name__}: {error}" if error else None)
        except RedisError as silence:
            logger.warning("How a run of periodic task %s ended could not be recorded: %s", self.name, silence)


class Declarations:
    """Every periodic task that a process declares, by name."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Declaration, Body]] = {}

    def add(self, declaration: Declaration, body: Body) -> None:
        """Add a task; the same function again replaces what it declared before.

        Raises:
            InvalidPeriodicTask: another function has the name.
        """
        before = self._known.get(declaration.name)
        if before and _place(before[1]) != _place(body):
            raise InvalidPeriodicTask(
                f"two functions are declared as periodic task {declaration.name}: {_place(before[1])} and "
                f"{_place(body)}; give one of them another name="
            )
        self._known[declaration.name] = (declaration, body)

    def of(self, name: str) -> Declaration:
        """Return what was declared under a name."""
        return self._known[name][0]


#: What this process declared. A registry of its own, for Celery makes its tasks only after every module is imported.
declarations = Declarations()


def _place(body: Body) -> str:
    code = inspect.unwrap(body).__code__
    return f"{body.__module__}.{body.__qualname__} (line {code.co_firstlineno})"


@overload
def periodic_task(function: Body, /) -> PeriodicTask: ...


@overload
def periodic_task(
    *,
    spacing: Later[float] = 60,
    run_immediately: Later[bool] = False,
    enabled: Later[bool] = True,
    external_process_ok: Later[bool] = False,
    jitter: float = 0.05,
    timeout: float | None = None,
    overlap: Overlap = "forbid",
    misfire: Misfire = "skip",
    scope: Literal["cluster", "each_worker", "partitioned"] = "cluster",
    of: Callable[[], Iterable[Any]] | None = None,
    name: str | None = None,
) -> Callable[[Body], PeriodicTask]: ...


def periodic_task(function: Body | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a function a periodic task: whatever fails and however many beats run, one tick runs at most once.

    Without parentheses it runs at every base tick. Spacing, run_immediately, enabled and external_process_ok may be
    callables without arguments, which are asked when a beat starts to lead, or a worker starts.

    Args:
        function: the body, where the decorator is used without parentheses.
        spacing: seconds from one run to the next, 1 or more; 0 for every base tick (the setting ``base_tick``);
            negative for never. Defaults to 60.
        run_immediately: run as soon as a beat first knows it, or whenever a worker starts that has it in a schedule of
            its own. Defaults to False: within one spacing.
        enabled: False keeps it out of the schedule. Defaults to True.
        external_process_ok: send it to the queue ``periodic-external``, and only where the setting
            ``run_external_periodic_tasks`` allows it. Defaults to False.
        jitter: how much later than its boundary a tick may come, at random, as a part of the spacing from 0 to 0.5;
            it never adds up. Defaults to 0.05.
        timeout: seconds after which a run is ended. Defaults to the setting ``task_time_limit``.
        overlap: what becomes of a tick that comes while the run before it is alive: ``forbid`` skips it, ``queue``
            runs it afterwards. Defaults to forbid.
        misfire: what becomes of a tick that could not be sent for more than a minute: ``skip`` leaves it out, ``once``
            sends one for all that were missed. Defaults to skip.
        scope: ``cluster``, one worker of the deployment runs a tick; ``each_worker``, every worker has ticks of its
            own; ``partitioned``, likewise in the workers that consume the task's queue, and each gets its share of a
            set. Defaults to cluster.
        of: with ``partitioned``, returns the set: all nodes, all subclouds. The body gets the worker's share of it.
        name: the task's name. Defaults to the module and name of the function.
        options: all of the above but the first and the last.

    Raises:
        InvalidPeriodicTask: an option is unknown or cannot work, or another function has the name.
    """
    if function is None:
        return lambda body: _declare(body, name, options)
    if not inspect.isfunction(function):
        raise InvalidPeriodicTask(f"periodic_task takes its options by name, as in spacing=60, not {function!r}")
    return _declare(function, name, {"spacing": 0, **options})


def _declare(body: Body, name: str | None, options: Mapping[str, Any]) -> PeriodicTask:
    name = name or str(app.gen_task_name(body.__name__, body.__module__))
    _refuse_unknown(name, options)
    declaration = Declaration(name, **options)
    declarations.add(declaration, body)
    if app.finalized:  # type: ignore[attr-defined]  # celery-types leaves it out
        app.tasks.pop(name, None)
    # a share is given by the worker, so that no caller has to pass it
    given_nothing = declaration.of is None
    task: PeriodicTask = app.task(base=PeriodicTask, name=name, shared=False, typing=given_nothing)(body)
    return task


def _refuse_unknown(name: str, options: Mapping[str, Any]) -> None:
    known = Declaration.__dataclass_fields__.keys() - {"name"}
    for option in options.keys() - known:
        hint = "; say spacing=, in seconds" if option == "ticks_between_runs" else ""
        raise InvalidPeriodicTask(
            f"periodic task {name} was declared with the unknown option {option}{hint}. "
            f"Known are {', '.join(sorted(known))} and name"
        )
