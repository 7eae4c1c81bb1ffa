"""Keeps the moulds of an application, and knows which messages Celery has to write itself."""

import os
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from types import FunctionType
from typing import Any, NamedTuple

from celery import Celery, Task, signals
from celery.app import amqp
from celery.backends.redis import RedisBackend
from celery.result import AsyncResult
from kombu import Producer

from tasks.admission import admitted
from tasks.sending.mould import Cast, Frame, Mould, Own
from tasks.transport import ORDERING, Outbox

#: The options of calls that may be cast from a mould: these are the same for many calls,
USUAL = frozenset({"priority", "task_id", "queue", "ignore_result", "time_limit", "soft_time_limit"})

#: and these only for those of one batch.
TIMED = frozenset({"countdown", "eta", "expires"})

#: What each call has of its own.
OWN = frozenset({"priority", "task_id"})

#: Values that say all there is to say of them.
PLAIN = (str, int, float, bool, type(None))

#: So many kinds of calls are remembered; an application has a handful.
MOST = 1000

#: Where tracing tools put themselves between a call and its message; they must see each one.
SEAMS: tuple[tuple[type, str], ...] = (
    (Task, "apply_async"),
    (Celery, "send_task"),
    (amqp.AMQP, "as_task_v2"),
    (Producer, "publish"),
)


#: Set while a worker sends what follows a task that has run; Celery has a way of its own to repeat that.
_sends_a_callback: ContextVar[bool] = vars(amqp)["_callback_publish_retry"]


class Call(NamedTuple):
    """A call of a task.

    Attributes:
        task: what is called.
        write: Celery's way to send it.
        args: positional arguments.
        kwargs: keyword arguments.
        options: Celery's options, the priority among them.
        ordering: its order among others, see `tasks.transport.ordering`; empty without one.
    """

    task: Any
    write: Callable[..., AsyncResult[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    ordering: str

    def leave_to_celery(self, **more: Any) -> AsyncResult[Any]:
        """Send it by Celery, with more options."""
        options = {**self.options, **more}
        if self.ordering:
            options["headers"] = {**(options.get("headers") or {}), ORDERING: self.ordering}
        return self.write(self.args, self.kwargs, **options)


class Moulds:
    """The moulds of one application.

    What else a message says depends on the process, the settings and who has a hand in Celery's doings; a mould is
    dropped when that changes.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._clock = vars(app)["clock"]
        self._kept: dict[Hashable, Mould | None] = {}
        self._made_under: tuple[Any, ...] = ()
        self._usable = False
        self._route_of: Callable[..., dict[str, Any] | None] = lambda *_: None
        self._levels = 0
        self._retry_policy: dict[str, Any] | None = None

    def send(self, call: Call) -> AsyncResult[Any] | None:
        """Send one task; None when that is for Celery to do.

        Raises:
            QueueClosed: the queue is being quiesced, and refuses new tasks.
            QueueFull: the queue takes no new work.
        """
        if not call.options.keys() <= USUAL or not self.are_allowed():
            return None
        kind = self.kind_of(call)
        if kind is None or (kind in self._kept and self._kept[kind] is None):
            return None
        return admitted(lambda: self._send(call, kind))

    def _send(self, call: Call, kind: Hashable) -> AsyncResult[Any] | None:
        app = self._app
        with app.producer_or_acquire() as producer, producer.connection._reraise_as_library_errors():  # noqa: SLF001 - as Celery
            mould = self.mould(call, kind, producer.connection, self._kept)
            if mould is None:
                return None
            result, cast = self.cast(call, mould, Frame.of(app))
            # Celery subscribes to a result on Redis here, and again when somebody waits for it, which suffices
            if not (result.ignored or isinstance(app.backend, RedisBackend)):
                app.backend.on_task_call(producer, result.id)
            producer.put(cast.task, mould.entities, mould.announce(cast.event), self._retry_policy)
        parent = app.current_worker_task
        if parent is not None:
            parent.add_trail(result)
        return result

    # -- when

    def are_allowed(self) -> bool:
        """Whether messages may be cast now: nobody has a hand in what Celery would write."""
        if (
            signals.before_task_publish.receivers
            or signals.after_task_publish.receivers
            or signals.task_sent.receivers
            or _sends_a_callback.get()
        ):
            return False
        conf: Any = self._app.conf
        changed_settings = vars(conf).get("changes")
        seams = [vars(owner).get(name) for owner, name in SEAMS]
        if (os.getpid(), self._app.amqp, seams, changed_settings) != self._made_under:
            self._begin(conf, seams)
        self._route_of = self._app.amqp.router.lookup_route
        return self._usable

    def _begin(self, conf: Any, seams: list[Any]) -> None:
        usable = not conf.task_always_eager and conf.task_protocol == 2 and all(map(_is_celerys, seams))
        self._levels = conf.task_repr_maxlevels
        self._retry_policy = dict(conf.task_publish_retry_policy) if conf.task_publish_retry else None
        self._kept = {}
        self._usable = usable
        self._made_under = (os.getpid(), self._app.amqp, seams, dict(vars(self._app.conf)["changes"]))

    # -- which

    def kind_of(self, call: Call) -> Hashable | None:
        """Return what all calls share that one mould does for; None where only Celery knows what to write."""
        task, write, args, kwargs, options, _ = call
        if not (getattr(write, "__func__", None) is Task.apply_async and _is_sent_as_usual(task)):
            return None
        route = self._route_of(task.name, args, kwargs, options, task) or {}
        if not route and options.keys() <= OWN:
            return task, task.ignore_result
        if not all(isinstance(value, PLAIN) for said in (options, route) for value in said.values()):
            return None
        return (task, task.ignore_result, *_said(options), *_said(route))

    def mould(self, call: Call, kind: Hashable, connection: Any, batch: dict[Hashable, Mould | None]) -> Mould | None:
        """Return the mould of a call, a kept one or one of this batch; None when there can be none."""
        lasting = call.options.keys() <= USUAL
        moulds = self._kept if lasting else batch
        if kind not in moulds:
            if len(moulds) >= MOST:
                moulds.clear()
            model = self._model(call, connection)
            moulds[kind] = model if model and (model.lasts or not lasting) else None
        return moulds[kind]

    def _model(self, call: Call, connection: Any) -> Mould | None:
        outbox = Outbox(self._app, connection)
        own = {"task_id": call.options.get("task_id") or new_id(), "producer": outbox, "add_to_parent": False}
        call.leave_to_celery(**own)
        mould = Mould(outbox, self._levels, self._clock) if len(outbox.tasks) == 1 else None
        return mould if mould and mould.is_exact else None

    # -- what

    def cast(self, call: Call, mould: Mould, frame: Frame) -> tuple[AsyncResult[Any], Cast]:
        """Write one more task, and return the result that it will have.

        Raises:
            TypeError: the task does not take its arguments.
        """
        task, _, args, kwargs, options, ordering = call
        check_arguments = task.typing and getattr(task, "__header__", None)
        if check_arguments:
            check_arguments(*args, **kwargs)
        result: AsyncResult[Any] = task.AsyncResult(options.get("task_id") or new_id())
        result.ignored = options.get("ignore_result", task.ignore_result)
        return result, mould.cast(Own(result.id, args, kwargs, options["priority"], ordering), frame)


def new_id() -> str:
    """Return a random UUID; Celery's own way to its text takes three times as long."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _is_celerys(function: Any) -> bool:
    return (
        isinstance(function, FunctionType)
        and function.__module__.partition(".")[0] in {"celery", "kombu"}
        and not hasattr(function, "__wrapped__")
    )


def _is_sent_as_usual(task: Any) -> bool:
    return (
        type(task).shadow_name is Task.shadow_name
        and task.serializer in {None, "json"}
        and task._dump_pydantic_arguments is None  # noqa: SLF001 - Celery has no other sign of it
    )


def _said(options: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    # 1, 1.0 and True are equal, but not the same in a message
    return sorted((name, type(value).__name__, value) for name, value in options.items() if name not in OWN)
