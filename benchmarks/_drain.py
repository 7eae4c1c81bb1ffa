"""Workers that run no-op tasks from full queues in short turns, so that both sides of a ratio see the same noise."""

import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import redis
from _patience import until
from _queue_app import make_app, waiting, worker
from kombu import pools


class Drain:
    """A full queue and a warm worker that runs in turns; stopped in between, all of its processes."""

    def __init__(self, url: str, fleetring: bool, count: int) -> None:
        self.url, self.fleetring, self.count = url, fleetring, count
        self.client: Any = redis.Redis.from_url(url)
        self.rates: list[float] = []
        self.costs: list[list[float]] = []

    @property
    def left(self) -> int:
        """Tasks that are not done."""
        return waiting(self.client, self.fleetring)

    @contextmanager
    def running(self) -> Iterator["Drain"]:
        """Fill the queue, start the worker, and stop it when it is warm."""
        self.client.flushdb()
        send = make_app(self.fleetring, self.url).tasks["nothing"].delay
        for _ in range(self.count):
            send()
        with worker(self.url, self.fleetring) as process:
            self.process = process
            until(lambda: self.left <= self.count - 300)
            main, server = psutil.Process(process.pid), psutil.Process(self.client.info("server")["process_id"])
            self.processes = [[main], main.children(), [server]]
            self.signal(signal.SIGSTOP)
            try:
                yield self
            finally:
                self.signal(signal.SIGCONT)

    def signal(self, what: signal.Signals) -> None:
        """Tell the worker and its processes."""
        os.killpg(self.process.pid, what)

    def take_turn(self) -> None:
        """Let the worker run for a moment, and note tasks per second and seconds of processors per task."""
        before, spent, started = self.left, self.spent(), time.perf_counter()
        self.signal(signal.SIGCONT)
        time.sleep(0.5)
        self.signal(signal.SIGSTOP)
        took, done = time.perf_counter() - started, before - self.left
        self.rates.append(done / took)
        self.costs.append([(now - then) / done for now, then in zip(self.spent(), spent, strict=True)])

    def spent(self) -> list[float]:
        """Seconds of processors that the main process, the pool's processes and the server have used."""
        return [sum(sum(one.cpu_times()[:2]) for one in those) for those in self.processes]

    def cost(self) -> str:
        """Microseconds of processors for a task: main process, pool's processes, server."""
        return " ".join(f"{1e6 * statistics.mean(one):.0f}" for one in zip(*self.costs, strict=True))


def drain(url: str, count: int) -> list[Drain]:
    """Let two workers run tasks from full queues, ours and stock; in turns that see the same noise."""
    with ExitStack() as stack:
        sides = [stack.enter_context(Drain(f"{url[:-1]}{kind:d}", kind, count).running()) for kind in (True, False)]
        while all(side.left > count // 10 for side in sides):
            for side in sides[:: 1 if len(sides[0].rates) % 2 else -1]:
                side.take_turn()
    pools.reset()
    return sides
