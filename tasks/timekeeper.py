"""The timekeeper: leads one schedule of periodic tasks, and sends each tick that comes due in it.

A beat has one for the schedule of the whole deployment, and each worker one for what it does on its own. Whoever leads
installs what is declared, claims each due tick in one script on the server's clock, and sends it; a tick that was
claimed is sent until that worked. No client's clock decides anything.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from celery import Celery
from celery.schedules import schedule
from celery.utils.log import get_logger
from kombu import Queue
from redbeat.decoder import RedBeatJSONEncoder
from redis import RedisError

from tasks.admission import SILENCE
from tasks.declaration import Scope
from tasks.errors import BrokerUnreachable
from tasks.periodic import TICK_HEADER, PeriodicTask
from tasks.settings import Settings
from tasks.ticks import Entry, Ledger, Pass, Tick
from tasks.transport import Outbox, QueueClosed, QueueFull

logger = get_logger(__name__)

#: What may be over in a while: the broker is away, starts, is full or read-only.
OUTAGE = (RedisError, BrokerUnreachable, *SILENCE)

#: The shortest pause between two passes, in seconds; what falls due within it goes together.
SHORTEST_PAUSE = 0.05
#: No more ticks a second are sent than this many times what the spacings ask for in the mean ...
HEADROOM = 1.5
#: ... except that so many a second are always allowed.
LEAST_STARTS = 20.0
#: So many looks in a row have to fail before there is an outage.
LOUD_FAILURE = 2
#: A server's clock that went back this far was set back, in seconds.
CLOCK_SET_BACK = 1.0


class Budget:
    """How many ticks may be sent now; a token bucket that holds a tenth of a second's worth."""

    def __init__(self, per_second: float) -> None:
        self._per_second = max(per_second, LEAST_STARTS)
        self._most = max(1.0, self._per_second / 10)
        self._left = self._most
        self._asked = monotonic()

    def available(self) -> int:
        """Return how many ticks may be sent now."""
        now = monotonic()
        self._left = min(self._left + (now - self._asked) * self._per_second, self._most)
        self._asked = now
        return int(self._left)

    def spend(self, count: int) -> None:
        """Take note of ticks that were claimed."""
        self._left -= count


class Timekeeper:
    """Leads a schedule, or stands by while another does.

    Args:
        app: the application whose tasks are sent.
        ledger: the schedule.
        name: who keeps the time, for the log: beat, or a worker.
        wanted: says of each periodic task whether it belongs into this schedule.
        lease: seconds after which another may lead when this one gives no sign of life.
        longest_pause: seconds between two passes, at the most.
        queue: the worker's own queue, for its own schedule: then the lead is taken even from an older process of the
            worker's name, and what runs at once does so at each start. Defaults to None, for a beat.
        on_strangers: gets the keys of due entries that were not declared here. Defaults to nobody.
    """

    def __init__(
        self,
        app: Celery,
        ledger: Ledger,
        *,
        name: str,
        wanted: Callable[[PeriodicTask], bool],
        lease: float,
        longest_pause: float,
        queue: Queue | None = None,
        on_strangers: Callable[[Sequence[str]], None] = lambda keys: None,
    ) -> None:
        self._app = app
        self._ledger = ledger
        self._name = name
        self._wanted = wanted
        self._lease = lease
        self._longest_pause = longest_pause
        self._queue = queue
        self._on_strangers = on_strangers
        self.token = uuid4().hex
        self.leads = False
        self._led_before = False
        self._failures = 0
        self._budget = Budget(0)
        self._sent: list[tuple[str, Tick, str]] = []
        self._server_time = 0.0

    def look(self) -> float:
        """Do what is due and return the seconds until the next look; an outage only makes it look again.

        The first failure may be that of a connection which an outage left behind, so the second look comes at once.
        """
        try:
            pause = self._lead() if self.leads else self._stand_by()
        except OUTAGE as error:
            self._failures += 1
            if self._failures == LOUD_FAILURE:
                logger.error(
                    "%s: the broker does not do its part, trying again every %g s: %s",
                    self._name, self._longest_pause, error,
                )  # fmt: skip
            return SHORTEST_PAUSE if self._failures < LOUD_FAILURE else self._longest_pause
        if self._failures >= LOUD_FAILURE:
            logger.warning("%s: the broker does its part again", self._name)
        self._failures = 0
        return pause

    def leave(self) -> None:
        """Give the lead up, so that another takes over at once."""
        if not self.leads:
            return
        self.leads = False
        try:
            if self._sent:
                self._ledger.tick(self.token, self._lease, 0, self._sent)
            self._ledger.leave(self.token)
        except OUTAGE as error:
            logger.warning("%s: the lead could not be given up, its lease ends it: %s", self._name, error)

    def _stand_by(self) -> float:
        by_force = self._queue is not None and not self._led_before
        if not self._ledger.lead(self.token, self._lease, by_force=by_force):
            return self._longest_pause
        logger.info("%s: this %s leads", self._name, self._name)
        self._sent = []
        self.leads = self._install()
        self._led_before = True
        return 0.0

    def _install(self) -> bool:
        entries = list(self._entries())
        if self._queue is None:
            self._ledger.forget_pauses(periodic_tasks(self._app))
        self._budget = Budget(HEADROOM * sum(1 / entry.spacing for entry in entries))
        return self._ledger.install(self.token, self._lease, entries)

    def _lead(self) -> float:
        found = self._ledger.tick(self.token, self._lease, self._budget.available(), self._sent)
        self._sent = []
        if found is None:
            logger.warning(
                "%s: another %s leads, or this one was too slow to renew its lead; standing by", self._name, self._name
            )
            self.leads = False
            return self._longest_pause
        if found.now < self._server_time - CLOCK_SET_BACK:
            logger.warning("%s: the server's clock was set back by %.0f s", self._name, self._server_time - found.now)
            self.leads = self._install()
        self._server_time = found.now
        self._budget.spend(len(found.unsent))
        self._send(found)
        self._on_strangers(found.strangers)
        return self._pause(found)

    def _pause(self, found: Pass) -> float:
        """Sleep until the next tick is due; what was sent is settled by the next pass."""
        nothing_can_be_sent = found.unsent and not self._sent
        if found.next_due is None or nothing_can_be_sent:
            return self._longest_pause
        return min(max(found.next_due - found.now, SHORTEST_PAUSE), self._longest_pause)

    # -- sending

    def _send(self, found: Pass) -> None:
        """Send what was claimed in one step; to a broker that knows the messages already that changes nothing."""
        if not found.unsent:
            return
        with self._app.connection_or_acquire() as connection:
            outbox = Outbox(self._app, connection)
            written = [(name, tick) for name, tick in found.unsent.items() if self._write(name, tick, outbox)]
            if self._queue is not None:  # it forgets itself when nothing is published for a while
                self._queue(connection.default_channel).queue_declare()
            try:
                outbox.send(unique=False)
            except (QueueClosed, QueueFull) as closed:
                logger.info("%s: ticks wait until their queue takes new tasks: %s", self._name, closed)
                return
        for name, tick in written:
            meta = {"last_run_at": datetime.fromtimestamp(found.now, UTC), "total_run_count": tick.slot}
            self._sent.append((name, tick, json.dumps(meta, cls=RedBeatJSONEncoder)))
            logger.debug("%s: sent tick %s of %s", self._name, tick, name)

    def _write(self, name: str, tick: Tick, outbox: Outbox) -> bool:
        """Write the message of a tick, each time with the same id, so that the broker knows one that it has.

        What is wrong with one task is logged and stops no other; an outage is raised.
        """
        options: dict[str, Any] = {} if self._queue is None else {"queue": self._queue}
        options["headers"] = {TICK_HEADER: str(tick), "celery_beat_task": True}
        try:
            self._app.tasks[name].apply_async(
                task_id=str(uuid5(NAMESPACE_URL, f"{name} {tick} {self._queue.name if self._queue else ''}")),
                producer=outbox,
                retry=False,
                **options,
            )
        except OUTAGE:
            raise
        except Exception:
            logger.exception("%s: periodic task %s could not be sent", self._name, name)
            return False
        return True

    # -- what is declared

    def _entries(self) -> Iterator[Entry]:
        """Every task that is to be scheduled; one whose options cannot work is named, and stops no other."""
        for name, task in sorted(periodic_tasks(self._app).items()):
            try:
                if not self._wanted(task):
                    continue
                objection = task.declaration.objection(settings_of(self._app))
                if objection is None:
                    yield self._entry(task)
                    continue
            except Exception as error:
                objection = f"its options cannot be told: {error}"
                logger.exception("%s: the options of periodic task %s cannot be told", self._name, name)
            logger.info("Skipping periodic task %(task)s because %(objection)s", {"task": name, "objection": objection})

    def _entry(self, task: PeriodicTask) -> Entry:
        declared = task.declaration
        spacing = declared.effective_spacing(settings_of(self._app))
        definition = {
            "name": task.name,
            "task": task.name,
            "args": None,
            "kwargs": None,
            "options": {"queue": self._queue.name if self._queue else declared.queue},
            "schedule": schedule(spacing, app=self._app),
            "enabled": True,
        }
        each_start = self._queue is not None and not self._led_before
        return Entry(
            name=task.name,
            definition=json.dumps(definition, cls=RedBeatJSONEncoder),
            meta=json.dumps({"last_run_at": None}),
            spacing=spacing,
            jitter=declared.jitter,
            misfire=declared.misfire,
            phase=declared.phase(spacing),
            at_once="never" if not declared.at_once() else "always" if each_start else "new",
        )


def periodic_tasks(app: Celery, scopes: Collection[Scope] = tuple(Scope)) -> dict[str, PeriodicTask]:
    """Every periodic task that an application knows, by name; of these scopes only. Defaults to all."""
    return {
        name: task
        for name, task in app.tasks.items()
        if isinstance(task, PeriodicTask) and task.declaration.scope in scopes
    }


def settings_of(app: Celery) -> Settings:
    """The settings of an application of this package."""
    settings: Settings = app.settings  # type: ignore[attr-defined]  # ours has them
    return settings
