"""Workers that follow the sizes of their queues: where those ask for more slots than there are, they become larger."""

import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from tasks.admission import SILENCE
from tasks.transport import News, kept_for_urgent
from tasks.transport.worker import QueueStep, blocks_the_loop, slots_of
from tasks.workers import Register, Stage

logger = get_logger(__name__)


class FollowSizes(bootsteps.StartStopStep):
    """Boot step of the consumer that makes its pool large enough for its share of its queues' sizes, and small again.

    The sizes lie in the broker (`pool.resize`), so that a worker which starts later follows them, too. Only what this
    step has added is taken away again: what Celery's ``pool_grow``, ``pool_shrink`` and autoscaling do stays.
    """

    requires = (QueueStep,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._worker = consumer.controller
        self._heard: News | None = None
        self._added = 0
        make_threads_resizable(consumer.pool)

    def start(self, consumer: Any) -> None:
        """Follow the sizes from now on; a solo pool has one slot for ever."""
        if not blocks_the_loop(consumer.pool) and self not in self._worker.followers:
            self._worker.followers.append(self)

    def reconcile(self, consumer: Any) -> None:
        """Bring the pool in line with the sizes, once for all that the broker tells of them."""
        news = self._worker.news()
        if news is None or news is self._heard:
            return
        self._heard = news
        try:
            wanted = self._wanted(news.sizes)
        except SILENCE as error:
            logger.info("The sizes of the queues are not known, and are asked for again: %s", error)
            return
        own = slots_of(self._worker) - self._added
        delta = max(wanted - own, 0) - self._added
        if delta:
            self._added += change(consumer, delta)

    def _wanted(self, sizes: Mapping[str, int]) -> int:
        """How many slots this worker's share of the sizes takes."""
        app = self._worker.app
        mine = {queue: size for queue, size in sizes.items() if queue in app.amqp.queues.consume_from}
        share = largest_share(mine, self._consumers_of(mine))
        wanted = share + kept_for_urgent(app.settings.reserved_slots, share)
        return min(wanted, int(app.settings.max_slots))

    def _consumers_of(self, mine: Mapping[str, int]) -> Counter[str]:
        """Count the workers that take from each of the queues, this one included."""
        others: Counter[str] = Counter()
        for seen in Register(self._worker.app).read() if mine else ():
            if seen.report and seen.report.stage is Stage.RUNNING and seen.name != self._worker.hostname:
                others.update(mine.keys() & set(seen.report.queues))
        return others + Counter(dict.fromkeys(mine, 1))


def largest_share(sizes: Mapping[str, int], workers: Mapping[str, int]) -> int:
    """Return the largest of the even shares that one of so many workers has in each size."""
    return max((math.ceil(size / workers[queue]) for queue, size in sizes.items()), default=0)


def change(consumer: Any, delta: int) -> int:
    """Make a worker's pool larger, or smaller by slots that are free; returns by how many slots it changed."""
    controller = consumer.controller
    before = slots_of(controller)
    if controller.autoscaler:
        controller.autoscaler.update(max=before + delta)
    elif delta > 0:
        consumer.pool.grow(delta)
    else:
        _shrink(consumer.pool, -delta)
    changed = slots_of(controller) - before
    if not controller.autoscaler:
        consumer._update_prefetch_count(changed)  # noqa: SLF001 - as Celery's pool_grow
    consumer.pool.maintain_pool()
    if changed:
        logger.info("The pool has %d slots now, for the sizes of its queues.", before + changed)
    return changed


def _shrink(pool: Any, count: int) -> None:
    for _ in range(count):
        try:
            pool.shrink(1)
        except ValueError:  # all are busy: the next look tries again
            return


def make_threads_resizable(pool: Any) -> None:
    """Give a pool of threads the ``grow`` and ``shrink`` that Celery's control commands call; it has none."""
    if type(pool).__module__ == "celery.concurrency.thread":
        pool.grow = partial(_add_threads, pool)
        pool.shrink = lambda count=1: _add_threads(pool, -count)


def _add_threads(pool: Any, count: int = 1) -> None:
    if pool.limit + count < 1:
        raise ValueError(f"a pool of {pool.limit} threads cannot lose {-count}: one must be left")
    pool.limit += count
    pool.executor._max_workers = pool.limit  # noqa: SLF001 - the executor asks for it at each task
