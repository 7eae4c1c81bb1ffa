"""How an application comes to this transport by its ordinary URLs."""

from typing import Any, ClassVar

from celery.app import amqp
from kombu.utils.collections import HashedSeq

from tasks.transport.kombu_parts import BaseConnection, BaseConnectionPool, BasePooledConnection
from tasks.transport.producer import Producer
from tasks.transport.sentinel import SentinelTransport
from tasks.transport.shown import quick_repr
from tasks.transport.transport import Transport


class Connection(BaseConnection):  # type: ignore[misc] # see kombu_parts
    """A kombu connection whose ``redis``, ``rediss``, ``redis+socket`` and ``sentinel`` URLs mean our transport.

    kombu's own way, ``Connection(transport=...)``, holds only for the first of several URLs, not for unix sockets,
    drops the TLS default of ``rediss``, and hides from Flower which broker it is.
    """

    transports: ClassVar[dict[str, type[Transport]]] = {
        "redis": Transport,
        "rediss": Transport,
        "sentinel": SentinelTransport,
    }

    def get_transport_cls(self) -> Any:
        """Return the transport class for the URL's scheme."""
        scheme = self.transport_cls
        ours = self.transports.get(scheme) if isinstance(scheme, str) else None
        return ours or super().get_transport_cls()

    def __eqhash__(self) -> HashedSeq:
        # kombu shares pools between equal connections; a stock one with the same URL is not equal
        return HashedSeq("fleetring", *super().__eqhash__())

    def Pool(self, limit: int | None = None, **kwargs: Any) -> "ConnectionPool":  # noqa: N802 - kombu's name
        """Return a pool of such connections; `limit` None means no limit."""
        return ConnectionPool(self, limit, **kwargs)


class PooledConnection(Connection, BasePooledConnection):  # type: ignore[misc] # see kombu_parts
    """A `Connection` that belongs to a pool."""


class ConnectionPool(BaseConnectionPool):  # type: ignore[misc] # see kombu_parts
    """A pool of `Connection`; kombu's own would fill it with stock ones."""

    def new(self) -> PooledConnection:
        """Return one more connection like the first."""
        return PooledConnection(self, **dict(self.connection._info(resolve=False)))  # noqa: SLF001 - as kombu


class AMQP(amqp.AMQP):
    """Celery's messaging with `Connection`: pass it as ``Celery(..., amqp="tasks.transport:AMQP")``."""

    Connection = Connection

    def as_task_v2(
        self, task_id: str, name: str, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
    ) -> Any:
        """Write a task as Celery does, which takes a fifth of an enqueueing's time to show its arguments."""
        if options.get("argsrepr") is None:
            options["argsrepr"] = quick_repr(args or ())
        if options.get("kwargsrepr") is None:
            options["kwargsrepr"] = quick_repr(kwargs or {})
        return super().as_task_v2(task_id, name, args, kwargs, *more, **options)

    @property
    def producer_pool(self) -> Any:
        """The pool from which the application sends."""
        pool = super().producer_pool
        pool.Producer = Producer
        return pool
