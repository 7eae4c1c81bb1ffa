"""Node actions: Celery tasks that hold locks on their nodes while their body runs."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, get_args

from celery.utils.log import get_task_logger
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps

from locking import Lock, LockError, LockMode, ResourceLocked, StoreError
from tasks.action_names import name_of
from tasks.app import app
from tasks.base import Arguments, FleetTask
from tasks.current import TaskControls
from tasks.errors import InvalidArguments, InvalidOnBusy, InvalidResult, LocksSilent, NodesBusy, NoNodesGiven
from tasks.fan_out import HEADER as FENCE_HEADER
from tasks.fan_out import borrowed
from tasks.hand_over import adopted
from tasks.inventory import InventoryError, Node
from tasks.lending import lend
from tasks.parking import ticket_of
from tasks.priority import Priority
from tasks.task_manager import TaskManager
from tasks.transport import ordering
from tasks.unclaimed import HEADER as LOCK_HEADER

logger = get_task_logger(__name__)

#: Actions on more nodes take their place when they ask for the lock: to the broker each node is work at each claim.
MOST_IN_ORDER = 32

#: What an action does when its nodes are busy: wait without a slot, fail at once, or give up quietly.
OnBusy = Literal["park", "raise", "skip"]

Params = ParamSpec("Params")


class ActionTask(TaskManager, TaskControls):
    """What an action's body gets as ``task``: its nodes, their lock and drivers, and itself as a running task."""

    def __init__(self, action: "NodeAction", refs: list[str]) -> None:
        self._action = action
        super().__init__(
            refs,
            mode=action.mode,
            purpose=action.short_name,
            priority=action.current_priority,
            task_id=action.request.id,
        )

    @property
    def _running(self) -> FleetTask:
        return self._action

    def _take(self, mode: LockMode, wait: float | None) -> Lock:
        request = self._action.request
        lent = borrowed(request, self._names)
        brought = adopted(request, self._names, mode, self._purpose) if lent is None else lent
        return super()._take(mode, wait) if brought is None else brought

    def _running_task(self) -> FleetTask:
        return self._action

    def _ask(self, mode: LockMode, wait: float | None, **terms: Any) -> Lock:
        """Ask in one trip: for a lock that is free, or for a place in its queue, where the task waits parked."""
        if not self._action.waits_parked or self._lock is not None or mode is LockMode.OBSERVE:
            return super()._ask(mode, wait, **terms)
        lock = app.runtime.locks.enqueue(
            ticket_of(terms["task"]),
            self._lock_names,
            mode,
            # a task that was put back waits for a slot with its lock in its hands
            provisional=app.settings.lock_lease,
            arrived=self._action.arrival,
            loud=True,
            **terms,
        )
        assert lock is not None  # noqa: S101 - a loud request raises instead
        self._action.take_place()
        return lock

    def should_terminate(self) -> bool:
        """Tell whether this run is asked to end soon, or has lost its lock, without which it can do no more."""
        return self.lock.lost or super().should_terminate()


class NodeAction(FleetTask):
    """A task whose first argument names its nodes, and whose body runs under their lock."""

    abstract = True
    #: Celery checks arguments against ``run``, which takes any; ``apply_async`` checks them against the body.
    typing = False
    #: Set by ``node_action``.
    body: Callable[..., Any]
    body_signature: inspect.Signature
    mode: LockMode = LockMode.EXCLUSIVE
    on_busy: OnBusy = "park"

    @property
    def short_name(self) -> str:
        """The action's name without its module."""
        return str(self.name).rpartition(".")[2]

    def prepare(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Arguments:
        """Check a call, ``reboot.apply_async(["node-7"], priority=Priority.URGENT)``, before it is sent.

        Args:
            args: the nodes (a name or UUID, or a list of them), then the body's own arguments.
            kwargs: keyword arguments of the body.
            options: Celery's options; ``priority`` is any integer, lower goes first.

        Raises:
            InvalidArguments: the body does not take these arguments.
            NoNodesGiven: no node was named.
            InvalidPriority: the priority is not an integer.
        """
        refs, *rest = args or ((),)
        self._check_arguments(rest, kwargs)
        return super().prepare([self._references(refs), *rest], kwargs, options)

    def check_follower(self, call: Mapping[str, Any]) -> None:
        """Check a call that comes later, as far as it is known: what comes before it may give it its nodes.

        Raises:
            InvalidArguments: the body does not take these arguments.
            NoNodesGiven: no node was named.
        """
        args, kwargs = call.get("args") or (), call.get("kwargs") or {}
        if call.get("immutable"):
            refs, *args = args or ((),)
            self._references(refs)
        self._check_arguments(args, kwargs)

    def _check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        try:
            self.body_signature.bind(None, *args, **kwargs)
        except TypeError as error:
            _task, *own = (str(parameter) for parameter in self.body_signature.parameters.values())
            raise InvalidArguments(
                f"action {self.name} was sent with wrong arguments: {error}; it takes (nodes, {', '.join(own)})"
            ) from None

    def _references(self, refs: Any) -> str | list[str]:
        listed = [refs] if isinstance(refs, str) else list(refs)
        if not listed:
            raise NoNodesGiven(f"action {self.name}")
        if not all(isinstance(ref, str) and ref for ref in listed):
            raise InvalidArguments(f"action {self.name} takes names or UUIDs of nodes first, got {refs!r}")
        return refs if isinstance(refs, str) else listed

    def ordering(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        """Return the order of calls that wait parked for a node, unless they bring its lock or have too many nodes."""
        refs = [args[0]] if isinstance(args[0], str) else args[0]
        brings_lock = {LOCK_HEADER, FENCE_HEADER} & (options.get("headers") or {}).keys()
        if self.on_busy != "park" or self.mode is LockMode.OBSERVE or brings_lock or len(refs) > MOST_IN_ORDER:
            return ""
        return ordering(refs, shared=self.mode is LockMode.SHARED)

    def perform(self, refs: str | list[str], *args: Any, **kwargs: Any) -> Any:
        """Take the lock, load the nodes, run the body, record how it ended; runs in a worker."""
        try:
            task = ActionTask(self, [refs] if isinstance(refs, str) else refs)
        except ResourceLocked as busy:
            return self._give_way(busy)
        except StoreError as silence:
            if self.can_be_parked:  # no request waits for it, so the reconciler puts it back when the locks answer
                self.park(LocksSilent(str(silence)))
            raise
        with task:
            return self._run_body(task, *args, **kwargs)

    @property
    def waits_parked(self) -> bool:
        """Whether this run, if its nodes are busy, ends with the task parked."""
        return self.on_busy == "park" and self.can_be_parked

    def _give_way(self, busy: ResourceLocked) -> Any:
        if self.on_busy == "skip":
            return {"skipped": str(busy)}
        if self.waits_parked:
            lend(app.queues, busy.holders, self.current_priority)
            self.park(NodesBusy(str(busy)))
        if self.on_busy == "raise":
            raise busy
        return self.defer(reason=busy)  # of a task that can't be parked, or raises where no queue is

    def _run_body(self, task: ActionTask, *args: Any, **kwargs: Any) -> Any:
        try:
            result = self.body(task, *args, **kwargs)
            self._check_result(result)
        except Exception as error:
            self._record(task, f"{self.short_name} failed: {error}")
            raise
        self._record(task, None)
        return result

    def _check_result(self, result: Any) -> None:
        """Find out while the nodes are held what Celery would find out when it writes the result down."""
        try:
            dumps(result)
        except (TypeError, ValueError, RecursionError, EncodeError) as error:
            raise InvalidResult(self.name, str(error)) from error

    def _record(self, task: ActionTask, error: str | None) -> None:
        """Write how the action ended into the rows of its nodes; the action's own outcome is what counts."""
        for node in task.nodes:
            if node.last_error != error:
                self._record_one(task, node, error)

    @staticmethod
    def _record_one(task: ActionTask, node: Node, error: str | None) -> None:
        try:
            task.save(node, last_error=error)
        except (LockError, InventoryError) as trouble:
            logger.warning("could not record the outcome on node %s: %s", node.name, trouble)


def node_action(
    *,
    mode: LockMode = LockMode.EXCLUSIVE,
    priority: int = Priority.NORMAL,
    on_busy: OnBusy = "park",
    name: str | None = None,
) -> Callable[[Callable[Concatenate[ActionTask, Params], Any]], NodeAction]:
    """Make a function a node action: ``def flash(task, image): ...``, sent as ``flash.delay("node-7", "v2.img")``.

    Args:
        mode: EXCLUSIVE, or SHARED for work that may run beside other shared work on the node. Defaults to EXCLUSIVE.
        priority: of calls that name none; lower goes first. Defaults to ``Priority.NORMAL``.
        on_busy: when a node is locked, ``park`` the action until it gets the lock, ``raise`` ResourceLocked, or
            ``skip``. Defaults to park.
        name: the task's name. Defaults to the module and name of the function.

    Raises:
        InvalidOnBusy: `on_busy` is none of these.
        DuplicateAction: another file declares an action of that name.
    """
    if on_busy not in get_args(OnBusy):
        raise InvalidOnBusy("a node action", on_busy, get_args(OnBusy))

    def decorate(body: Callable[Concatenate[ActionTask, Params], Any]) -> NodeAction:
        @functools.wraps(body)
        def run(action: NodeAction, refs: str | list[str], *args: Any, **kwargs: Any) -> Any:
            return action.perform(refs, *args, **kwargs)

        return app.task(
            bind=True,
            base=NodeAction,
            name=name_of(body, name),
            body=staticmethod(body),
            body_signature=inspect.signature(body),
            mode=mode,
            on_busy=on_busy,
            default_priority=int(priority),
        )(run)

    return decorate
