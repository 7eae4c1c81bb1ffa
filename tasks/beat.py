"""The beat: redbeat's scheduler, made to survive what happens to it, on the ledger of ticks.

One beat leads and the others stand by; see ``tasks.timekeeper``.
"""

from collections.abc import Iterable
from typing import Any

from celery import Celery
from celery.utils.log import get_logger
from redbeat import RedBeatScheduler

from tasks.admission import SILENCE
from tasks.declaration import Scope
from tasks.ticks import Ledger
from tasks.timekeeper import Timekeeper

logger = get_logger(__name__)


class FleetScheduler(RedBeatScheduler):  # type: ignore[misc]  # redbeat is published without types
    """redbeat's scheduler, whose schedule is every enabled periodic task of scope ``cluster`` of the application."""

    def __init__(self, app: Celery, **options: Any) -> None:
        super().__init__(app, **options)
        # Without a key redbeat's own, blocking, acquisition at the start lets it be.
        self.lock_key = None
        self._unreadable: set[str] = set()
        self.timekeeper = Timekeeper(
            app,
            Ledger(app),
            name="beat",
            wanted=lambda task: task.declaration.scope is Scope.CLUSTER,
            lease=self.lock_timeout,
            longest_pause=float(self.max_interval),
            on_strangers=self._run_strangers,
        )

    def setup_schedule(self) -> None:
        """Do nothing yet: the schedule is installed by the beat that leads, once it does."""

    @property
    def info(self) -> str:
        """What Celery prints about the scheduler when beat starts."""
        return f"{super().info}\n       . takes over from a dead beat within {self.lock_timeout + self.max_interval:g}s"

    def tick(self, **_: Any) -> float:
        """Do what is due and return the seconds until the next look; an outage only makes it look again."""
        return self.timekeeper.look()

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

    def close(self) -> None:
        """Give the lead up, so that another beat takes over at once, and release the connections."""
        self.timekeeper.leave()
        super().close()
