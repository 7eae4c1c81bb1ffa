"""The beat: redbeat's scheduler, made to survive what happens to it, on the ledger of ticks.

One beat leads and the others stand by. The leader installs what is declared, claims each due tick in one script on the
server's clock, and sends it; a tick that was claimed is sent until that worked. No client's clock decides anything.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from celery import Celery
from celery.schedules import schedule
from celery.utils.log import get_logger
from redbeat import RedBeatScheduler
from redbeat.decoder import RedBeatJSONEncoder
from redis import RedisError

from tasks.admission import SILENCE
from tasks.errors import BrokerUnreachable
from tasks.periodic import TICK_HEADER, PeriodicTask
from tasks.ticks import Entry, Ledger, Pass, Tick

logger = get_logger(__name__)

#: What may be over in a while: the broker is away, starts, is full or read-only.
OUTAGE = (RedisError, BrokerUnreachable, *SILENCE)

#: The shortest pause between two passes, in seconds; what falls due within it goes together.
SHORTEST_PAUSE = 0.05
#: No more ticks a second are sent than this many times what the spacings ask for in the mean ...
HEADROOM = 1.5
#: ... except that so many a second are always allowed.
LEAST_STARTS = 20.0
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


class FleetScheduler(RedBeatScheduler):  # type: ignore[misc]  # redbeat is published without types
    """redbeat's scheduler, whose schedule is every enabled periodic task of the application."""

    def __init__(self, app: Celery, **options: Any) -> None:
        super().__init__(app, **options)
        # Without a key redbeat's own, blocking, acquisition at the start lets it be.
        self.lock_key = None
        self._ledger = Ledger(app)
        self._token = uuid4().hex
        self._leads = False
        self._silent = False
        self._budget = Budget(0)
        self._sent: list[tuple[str, Tick, str]] = []
        self._server_time = 0.0
        self._unreadable: set[str] = set()

    def setup_schedule(self) -> None:
        """Do nothing yet: the schedule is installed by the beat that leads, once it does."""

    @property
    def info(self) -> str:
        """What Celery prints about the scheduler when beat starts."""
        return f"{super().info}\n       . takes over from a dead beat within {self.lock_timeout + self.max_interval:g}s"

    def tick(self, **_: Any) -> float:
        """Do what is due and return the seconds until the next look; an outage only makes it look again."""
        try:
            pause = self._lead() if self._leads else self._stand_by()
        except OUTAGE as error:
            if not self._silent:
                logger.error(
                    "beat: the broker does not do its part, trying again every %s s: %s", self.max_interval, error
                )
            self._silent = True
            return float(self.max_interval)
        if self._silent:
            logger.warning("beat: the broker does its part again")
            self._silent = False
        return pause

    def _stand_by(self) -> float:
        if not self._ledger.lead(self._token, self.lock_timeout):
            return float(self.max_interval)
        logger.info("beat: this beat leads")
        self._sent = []
        self._leads = self._install()
        return 0.0

    def _install(self) -> bool:
        entries = list(self._entries())
        self._budget = Budget(HEADROOM * sum(1 / entry.spacing for entry in entries))
        return self._ledger.install(self._token, self.lock_timeout, entries)

    def _lead(self) -> float:
        found = self._ledger.tick(self._token, self.lock_timeout, self._budget.available(), self._sent)
        self._sent = []
        if found is None:
            logger.warning("beat: another beat leads, or this one was too slow to renew its lead; standing by")
            self._leads = False
            return float(self.max_interval)
        if found.now < self._server_time - CLOCK_SET_BACK:
            logger.warning("beat: the server's clock was set back by %.0f s", self._server_time - found.now)
            self._leads = self._install()
        self._server_time = found.now
        self._budget.spend(len(found.unsent))
        self._send(found)
        self._run_strangers(found.strangers)
        return self._pause(found)

    def _pause(self, found: Pass) -> float:
        """Sleep until the next tick is due; what was sent is settled by the next pass."""
        if found.unsent or found.next_due is None:
            return SHORTEST_PAUSE if found.unsent else float(self.max_interval)
        return min(max(found.next_due - found.now, SHORTEST_PAUSE), float(self.max_interval))

    def _send(self, found: Pass) -> None:
        if not found.unsent:
            return
        with self.app.producer_or_acquire() as producer:
            for name, tick in found.unsent.items():
                self._send_one(name, tick, producer)
                meta = {"last_run_at": datetime.fromtimestamp(found.now, UTC), "total_run_count": tick.slot}
                self._sent.append((name, tick, json.dumps(meta, cls=RedBeatJSONEncoder)))

    def _send_one(self, name: str, tick: Tick, producer: Any) -> None:
        """Send a tick; its message has the same id each time, so that the broker knows one that it has.

        What is wrong with one task is logged and stops no other; an outage is raised.
        """
        try:
            self.app.tasks[name].apply_async(
                task_id=str(uuid5(NAMESPACE_URL, f"{name} {tick}")),
                headers={TICK_HEADER: str(tick), "celery_beat_task": True},
                producer=producer,
                retry=False,
            )
        except OUTAGE:
            raise
        except Exception:
            logger.exception("beat: periodic task %s could not be sent", name)
        else:
            logger.debug("beat: sent tick %s of %s", tick, name)

    def _run_strangers(self, keys: Iterable[str]) -> None:
        """Run entries that somebody else put into redbeat's storage, redbeat's way."""
        for key in keys:
            try:
                self.maybe_due(self.Entry.from_key(key, app=self.app))
            except SILENCE:
                raise
            except Exception:
                if key not in self._unreadable:
                    logger.exception("beat: the entry %s in redbeat's storage cannot be run", key)
                self._unreadable.add(key)

    def _entries(self) -> Iterator[Entry]:
        """Every task that is to be scheduled; one whose options cannot work is named, and stops no other."""
        for name, task in sorted(self.app.tasks.items()):
            if not isinstance(task, PeriodicTask):
                continue
            try:
                objection = task.declaration.objection(self.app.settings)
                if objection is None:
                    yield self._entry(task)
                    continue
            except Exception as error:
                objection = f"its options cannot be told: {error}"
                logger.exception("beat: the options of periodic task %s cannot be told", name)
            logger.info("Skipping periodic task %(task)s because %(objection)s", {"task": name, "objection": objection})

    def _entry(self, task: PeriodicTask) -> Entry:
        declared = task.declaration
        spacing = declared.effective_spacing(self.app.settings)
        definition = {
            "name": task.name,
            "task": task.name,
            "args": None,
            "kwargs": None,
            "options": {"queue": declared.queue},
            "schedule": schedule(spacing, app=self.app),
            "enabled": True,
        }
        return Entry(
            name=task.name,
            definition=json.dumps(definition, cls=RedBeatJSONEncoder),
            meta=json.dumps({"last_run_at": None}),
            spacing=spacing,
            jitter=declared.jitter,
            misfire=declared.misfire,
            phase=declared.phase(spacing),
            at_once=declared.at_once(),
        )

    def close(self) -> None:
        """Give the lead up, so that another beat takes over at once, and release the connections."""
        if self._leads:
            self._leads = False
            try:
                self._ledger.leave(self._token)
            except OUTAGE as error:
                logger.warning("beat: the lead could not be given up, its lease ends it: %s", error)
        super().close()
