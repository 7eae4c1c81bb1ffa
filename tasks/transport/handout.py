"""How a prefork worker hands a task to a process: at once, instead of two turns of its event loop later."""

from itertools import islice
from typing import Any

from celery import bootsteps
from celery.concurrency.asynpool import AsynPool


class HandoutStep(bootsteps.StartStopStep):
    """Boot step of the consumer that spares the event loop turns and system calls; other pools have no use for it."""

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """Come after the pool, which is registered anew with each connection to the broker."""
        pool = getattr(consumer.pool, "_pool", None)
        if isinstance(pool, AsynPool):
            hand_out_at_once(pool, hub)
            rest_without_jobs(pool, hub)


def hand_out_at_once(pool: Any, hub: Any) -> None:
    """Write each job to an idle process when it is put; where there is none, the pool's own tick does it later."""
    put, write = pool._quick_put, hub.consolidate_callback  # noqa: SLF001 - the pool has no public way

    def put_and_write(job: tuple[Any, ...]) -> None:
        put(job)
        idle = pool._all_inqueues - pool._busy_workers - pool._active_writes  # noqa: SLF001 - as above
        if idle:
            write(list(islice(idle, len(pool.outbound_buffer))))

    pool._quick_put = put_and_write  # noqa: SLF001 - as above


def rest_without_jobs(pool: Any, hub: Any) -> None:
    """Leave out the pool's tick when it would only stop watching what nobody watches: a failing system call each."""
    tick = pool.on_poll_start
    if tick not in hub.on_tick:
        return  # the pool keeps the tick of its first registration

    def tick_with_jobs() -> None:
        if pool.outbound_buffer or hub.writers:
            tick()

    hub.on_tick.discard(tick)
    hub.on_tick.add(tick_with_jobs)
