"""A place for periodic tasks and beats of a test's own."""

import time
from collections.abc import Callable
from typing import Any

from redis import Redis

from tasks import app
from tasks.beat import FleetScheduler
from tasks.periodic import PeriodicTask, declarations, periodic_task
from tasks.ticks import Ledger, Record


class Lab:
    """Periodic tasks and beats of a test's own, and a look at what they leave in Redis."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.ledger = Ledger(app)
        self.beats: list[FleetScheduler] = []

    def declare(self, name: str = "tidy", body: Callable[[], Any] | None = None, **options: Any) -> PeriodicTask:
        """Declare a task, every minute and without jitter unless told otherwise."""

        def nothing() -> None:
            pass

        task = periodic_task(name=name, **{"spacing": 60, "jitter": 0.0, **options})(body or nothing)
        return app.tasks[task.name]

    def declare_only(self, name: str, **options: Any) -> PeriodicTask:
        """Declare a task, whatever was declared under its name; and let no beat lead."""
        for scheduler in self.beats:
            scheduler.timekeeper.leads = False
        declarations._known.pop(name, None)
        return self.declare(name, **options)

    def beat(self) -> FleetScheduler:
        """Make a beat of this process; it leads or stands by when its ``tick`` is called."""
        self.beats.append(FleetScheduler(app))
        return self.beats[-1]

    def passes(self, scheduler: FleetScheduler, count: int = 3) -> None:
        """Let a beat look at its schedule a few times, with time to earn a budget in between."""
        for _ in range(count):
            time.sleep(0.06)
            scheduler.tick()

    def make_due(self, name: str, *, ago: float) -> None:
        """Pretend that time has passed, so that the next tick was due so long ago."""
        anchor = int(self.client.hget(f"redbeat:{name}", "anchor") or 0)
        due = self.client.zscore("redbeat::schedule", f"redbeat:{name}") or 0
        shift = due + ago - time.time()
        self.client.hset(f"redbeat:{name}", "anchor", anchor - round(shift * 1e6))
        self.client.zadd("redbeat::schedule", {f"redbeat:{name}": due - shift})

    def record(self, name: str = "tidy") -> Record:
        """Read what is known of a task."""
        return self.ledger.records([name])[0]

    def sent(self) -> list[str]:
        """Take the messages from the periodic queues and name their tasks."""
        names = []
        with app.connection_for_read() as connection:
            for queue in ("periodic", "periodic-external"):
                while message := connection.default_channel.basic_get(queue):
                    message.ack()
                    names.append(message.headers["task"])
        return names
