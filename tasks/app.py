"""Builds the Celery application from the settings."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from celery import Celery
from kombu import Queue, pools
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from partitioning import initial_sync_queues, initial_sync_router
from tasks import plugins, settings
from tasks.addresses import for_celery, for_redbeat
from tasks.admission import admitted
from tasks.drain import AnnounceDrain, Drain
from tasks.life import Life
from tasks.presence import EnterFleet
from tasks.priority import Priority
from tasks.queue_ownership import QueueOwnership
from tasks.reaping import ReapLocks
from tasks.reconciler import ReconcileParked
from tasks.results import KeepResults
from tasks.runtime import Runtime
from tasks.sending import Moulds, Result
from tasks.service import ConsumeConfiguredQueues, InitHost
from tasks.settings import ACTIONS_QUEUE, SINGLE_QUEUES, Settings
from tasks.stopping import StopSignals
from tasks.transport import Queues, install
from tasks.unclaimed import FreeUnclaimed

SYNCHRONISE = "tasks.initial_sync.synchronise"
AUDIT = "tasks.audit.compare"

#: The boot step that sweeps unfinished initial syncs where the settings ask for it.
SWEEP = "tasks.initial_sync.restart:SweepUnfinished"

#: The boot step that makes a worker as large as the sizes of its queues ask for; named for the same reason.
SIZES = "tasks.pool.sizing:FollowSizes"

#: Modules that hold the tasks of the system; Celery loads them by name when a worker or beat starts.
INCLUDE = ("tasks.node_actions", "tasks.initial_sync", "tasks.audit", "beat_schedule")


class FleetringApp(Celery):
    """A Celery application that also holds the process's settings, and its database, locks and credentials.

    Nothing is read or connected before it is used.
    """

    task_cls = "tasks.base:FleetTask"

    def __init__(self, main: str) -> None:
        super().__init__(main, amqp="tasks.transport:AMQP")
        self.runtime = Runtime(self.broker_client, self.queues)
        #: Whether the worker that runs here is shutting down; None outside a worker.
        self.drain: Drain | None = None
        self.add_defaults(lambda: celery_config(self.settings))
        # The sweep is named, not imported: what it needs imports this module.
        self.steps["worker"].update(
            (
                ConsumeConfiguredQueues,
                KeepResults,
                AnnounceDrain,
                FreeUnclaimed,
                InitHost,
                EnterFleet,
                StopSignals,
                SWEEP,
                ReconcileParked,
            )
        )
        # own_ticks by its name, for it knows the tasks, which know their application
        self.steps["consumer"].update((QueueOwnership, ReapLocks, Life, "tasks.own_ticks:OwnTicks", SIZES))
        install(self)
        plugins.connect(self)

    @property
    def settings(self) -> Settings:
        """The settings of the process."""
        return settings.current()

    @cached_property
    def AsyncResult(self) -> type[Result]:  # noqa: N802 - Celery's name
        """The class of the application's results."""
        own: type[Result] = self.subclass_with_self(Result, name="AsyncResult", reverse="AsyncResult")
        return own

    def reconfigure(self) -> None:
        """Read the settings anew, and close what was opened under the old ones; between two tests, not at work."""
        self.runtime.close()
        settings.current.cache_clear()
        self._forget_results()
        pools.reset()
        self._pool = None
        self._backend_cache = None
        self._local = threading.local()
        for derived in ("amqp", "control", "events"):
            self.__dict__.pop(derived, None)
        self.conf.update(celery_config(self.settings))

    def _forget_results(self) -> None:
        """Let results that somebody still refers to die in peace, also after their store is gone."""
        listener = getattr(self.backend, "result_consumer", None)
        if listener is not None:
            listener.stop()
            listener.subscribed_to.clear()

    @cached_property
    def moulds(self) -> Moulds:
        """From which most tasks of this application are cast when they are sent."""
        return Moulds(self)

    @contextmanager
    def queues(self) -> Iterator[Queues]:
        """Yield the queues, on a connection of this process's pool."""
        with self.connection_or_acquire() as connection:
            yield Queues(connection, self.backend)

    @contextmanager
    def broker_client(self) -> Iterator[Any]:
        """Yield a client of the broker's server, on a connection of this process's pool."""
        with self.connection_or_acquire() as connection, connection.default_channel.conn_or_acquire() as client:
            yield client

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        """Send a task by its name, as Celery does; while its queue is quiesced, wait, or be refused.

        Raises:
            QueueClosed: the queue is being quiesced, and refuses new tasks.
        """
        send = super().send_task
        return admitted(lambda: send(name, *args, **options))


def celery_config(values: Settings) -> dict[str, Any]:
    """Return Celery's configuration for the settings."""
    return {**_transport(values), **_queues(values), **_tasks(values), **_beat(values), "include": INCLUDE}


def _transport(values: Settings) -> dict[str, Any]:
    broker_url, broker_options = for_celery(values.broker_url)
    result_url, result_options = for_celery(values.result_url)
    return {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 10,
        "broker_transport_options": {
            **broker_options,
            "lease": values.worker_lease,
            "max_redeliveries": values.max_redeliveries,
            "reserved_slots": values.reserved_slots,
            "max_queued": values.max_queued,
            "max_parked": values.max_parked,
            "reserved_priority": int(Priority.URGENT),
        },
        "result_backend": result_url,
        "result_extended": True,
        "result_expires": 86_400,
        "redis_socket_connect_timeout": 5,
        # Celery's default keeps a caller waiting for 19 s where nobody listens.
        "result_backend_transport_options": {**result_options, "retry_policy": {"timeout": 5.0}},
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
    }


def _queues(values: Settings) -> dict[str, Any]:
    names = (*SINGLE_QUEUES, *initial_sync_queues(values.initial_sync_queues))
    return {
        "task_queues": [Queue(name, routing_key=name) for name in names],
        "task_default_queue": ACTIONS_QUEUE,
        # A misspelt queue would be a black hole: nobody consumes it.
        "task_create_missing_queues": False,
        "task_routes": [initial_sync_router((SYNCHRONISE, AUDIT), values.initial_sync_queues)],
        "task_default_priority": int(Priority.NORMAL),
    }


def _tasks(values: Settings) -> dict[str, Any]:
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "task_time_limit": values.task_time_limit,
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_concurrency": values.slots,
        "worker_prefetch_multiplier": 1,
        # the name of the thread says what its task is at: tasks.current.set_name
        "worker_task_log_format": "[%(asctime)s: %(levelname)s/%(processName)s/%(threadName)s] "
        "%(task_name)s[%(task_id)s]: %(message)s",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "timezone": "UTC",
    }


def _beat(values: Settings) -> dict[str, Any]:
    redbeat_url, redbeat_options = for_redbeat(values.broker_url)
    return {
        "beat_scheduler": "tasks.beat:FleetScheduler",
        "beat_max_loop_interval": 1,
        "redbeat_redis_url": redbeat_url,
        # A beat would rather look again a second later than sleep in a retry when the broker is back.
        "redbeat_redis_options": {
            **redbeat_options,
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "retry": Retry(ExponentialBackoff(cap=0.2, base=0.01), 3),
        },
        # A standby beat takes over this long after the leading one died; redbeat's default is 1500 s.
        "redbeat_lock_timeout": 6,
    }


#: The application of this process.
app = FleetringApp("tasks")
