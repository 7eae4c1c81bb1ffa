"""Builds the Celery application from the settings."""

from collections.abc import Callable
from typing import Any

from celery import Celery
from kombu import Queue

from partitioning import initial_sync_queues, initial_sync_router
from tasks import settings as settings_module
from tasks.priority import BROKER_STEPS, Priority, broker_step
from tasks.runtime import Runtime
from tasks.service import ConsumeConfiguredQueues
from tasks.settings import Settings

ACTIONS_QUEUE = "actions"
PERIODIC_QUEUE = "periodic"
SYNCHRONISE = "tasks.initial_sync.synchronise"

#: Modules that hold the tasks of the system; Celery loads them by name when a worker or beat starts.
INCLUDE = ("tasks.node_actions", "tasks.initial_sync", "beat_schedule")


class FleetringApp(Celery):
    """A Celery application that also holds the process's database, locks and credentials as ``runtime``."""

    task_cls = "tasks.base:FleetTask"

    def __init__(self, *args: Any, read_settings: Callable[[], Settings], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_settings = read_settings
        self.runtime = Runtime(read_settings)
        self.add_defaults(lambda: celery_config(read_settings()))
        self.steps["worker"].add(ConsumeConfiguredQueues)

    @property
    def settings(self) -> Settings:
        """The settings that this application was built from, read at the first use."""
        return self._read_settings()


def build_app(settings: Settings | None = None, *, set_as_current: bool = True) -> FleetringApp:
    """Build an application; nothing is read or connected before it is used.

    Args:
        settings: what to build it from. Defaults to the settings of the process.
        set_as_current: whether it becomes Celery's current application. Defaults to True.
    """
    read_settings = settings_module.current if settings is None else lambda: settings
    return FleetringApp("tasks", read_settings=read_settings, set_as_current=set_as_current)


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration for the settings."""
    return {**_transport(settings), **_queues(settings), **_tasks(settings), **_beat(settings), "include": INCLUDE}


def _transport(settings: Settings) -> dict[str, Any]:
    return {
        "broker_url": settings.broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 10,
        "broker_transport_options": {
            "priority_steps": list(BROKER_STEPS),
            "queue_order_strategy": "round_robin",
            # A task that is still running must not be delivered again: see task_time_limit below.
            "visibility_timeout": settings.task_time_limit + 60,
            # The defaults sweep for lost messages every 100 s, and not for 300 s after a worker died sweeping.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
            "socket_connect_timeout": 5,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        "result_backend": settings.result_url,
        "result_extended": True,
        "result_expires": 86_400,
        "redis_socket_connect_timeout": 5,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
    }


def _queues(settings: Settings) -> dict[str, Any]:
    names = (ACTIONS_QUEUE, PERIODIC_QUEUE, *initial_sync_queues(settings.initial_sync_queues))
    return {
        "task_queues": [Queue(name, routing_key=name) for name in names],
        "task_default_queue": ACTIONS_QUEUE,
        # A misspelt queue would be a black hole: nobody consumes it.
        "task_create_missing_queues": False,
        "task_routes": [initial_sync_router(SYNCHRONISE, settings.initial_sync_queues)],
        "task_default_priority": broker_step(Priority.NORMAL),
    }


def _tasks(settings: Settings) -> dict[str, Any]:
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "task_time_limit": settings.task_time_limit,
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_concurrency": settings.slots,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "timezone": "UTC",
    }


def _beat(settings: Settings) -> dict[str, Any]:
    return {
        "beat_scheduler": "tasks.periodic:FleetScheduler",
        "beat_max_loop_interval": 1,
        "redbeat_redis_url": settings.broker_url,
        "redbeat_redis_options": {"socket_timeout": 5, "socket_connect_timeout": 5},
        # A standby beat takes over this long after the leading one died; redbeat's default is 1500 s.
        "redbeat_lock_timeout": 10,
    }


#: The application of this process; reading its settings waits until something needs them.
app = build_app()
