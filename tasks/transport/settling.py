"""How a channel gives back what it was given, and keeps the broker's account of it in step with what it has."""

import logging
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from tasks.transport.consumer import Consumer, Holding, worker_of
from tasks.transport.envelope import MICROSECONDS
from tasks.transport.errors import CONNECTION_LOST, DeadLettered
from tasks.transport.records import ClaimAnswer

if TYPE_CHECKING:
    from tasks.transport.channel import Channel

logger = logging.getLogger(__name__)


def _only_log(death: DeadLettered) -> bool:
    logger.error("%s.", death)
    return False


def _log_death(consumer: str, task_ids: Sequence[str]) -> None:
    logger.warning("Consumer %s is dead; its %d tasks have gone back into their queues.", consumer, len(task_ids))


class Settlements:
    """The ends, returns and dead letters of one channel's deliveries, and the lease under which it holds them.

    Attributes:
        tell: what is called with each dead letter that this channel hears of first, and returns whether the caller of
            the task was told; if not, another worker tries later. Defaults to logging it.
        on_died: what is called with each consumer that this channel finds dead, and the ids of the tasks that it had,
            before any of them runs here. Defaults to logging it.
    """

    def __init__(self, channel: "Channel") -> None:
        self.channel = channel
        self.tell: Callable[[DeadLettered], bool] = _only_log
        self.on_died: Callable[[str, Sequence[str]], None] = _log_death
        self._renewed_at = self._reconciled_at = 0.0

    @property
    def consumer(self) -> Consumer:
        """The identity of this process on the broker."""
        return self.channel.consumer

    # -- what a claim carries

    def take(self) -> tuple[list[Holding], list[Any]]:
        """Take what is to be acknowledged, and the first half of a claim, which tells it and renews the lease."""
        channel, finished = self.channel, self.consumer.take_finished()
        self._renewed_at = monotonic()
        return finished, [
            self.consumer.id,
            "1" if self.consumer.known else "0",
            round(channel.lease * MICROSECONDS),
            round(channel.restart_grace * MICROSECONDS),
            channel.max_redeliveries,
            len(finished),
            *_receipts(finished),
        ]

    def renewed(self, buried: Sequence[bytes], died: Sequence[bytes] = ()) -> None:
        """Take in that the lease is ours, and what the broker says of dead letters and of a dead consumer."""
        self.consumer.known = True
        if died:
            consumer, *task_ids = (part.decode() for part in died)
            self.on_died(consumer, task_ids)
        self._report(buried)

    # -- at once, on a connection of its own

    def settle(self) -> None:
        """Tell the broker what is done, and renew the lease."""
        self.settle_refused()
        finished, terms = self.take()
        try:
            answer = self.channel.call("claim", *terms)
        except CONNECTION_LOST:
            self.consumer.untake(finished)
            raise
        if (heard := ClaimAnswer.read(answer)) is None:
            self.lapse()
        else:
            self.renewed(heard.buried, heard.died)

    def keep_alive(self) -> None:
        """Settle and renew from another thread, unless the event loop did so lately."""
        if self.consumer.known and monotonic() - self._renewed_at > 1.5 * self.channel.heartbeat:
            self.settle()

    def settle_refused(self) -> None:
        """Return or bury what was rejected, and park what is to be parked."""
        if parked := self.consumer.take_parked():
            self.channel.call("park", self.consumer.id, *_receipts(parked))
        for holding, requeue in self.consumer.take_refused():
            if requeue:
                self._requeue(
                    [holding], self.channel.max_redeliveries, f"returned too often, lastly: {holding.trouble}"
                )
            else:
                self._bury(holding, holding.trouble)

    def release(self, tags: list[str]) -> None:
        """Return tasks unserved; that does not count as a redelivery."""
        self._requeue(self.consumer.give_up(tags), "", "")

    def bury(self, tag: str, reason: str) -> None:
        """Make a task that was delivered under `tag` a dead letter."""
        for holding in self.consumer.give_up([tag]):
            self._bury(holding, reason)

    def _requeue(self, holdings: list[Holding], limit: int | str, reason: str) -> None:
        if holdings:
            self._report(self.channel.call("requeue", self.consumer.id, limit, reason, *_receipts(holdings)))

    def _bury(self, holding: Holding, reason: str) -> None:
        self._report(self.channel.call("bury", self.consumer.id, reason, *holding.receipt))

    def _report(self, buried: Sequence[bytes]) -> None:
        for i in range(0, len(buried), 4):
            queue, task_id, consumer, reason = (part.decode() for part in buried[i : i + 4])
            if self.tell(DeadLettered(task_id, queue, reason, worker_of(consumer))):
                self.channel.call("told", task_id)

    # -- keeping the account right

    def reconcile(self, arriving: Iterable[Holding] = ()) -> bool:
        """Renew the lease, and return what the broker thinks we hold and we do not; False when the lease was lost.

        What the broker also answers are dead letters of workers that died before they told of them.

        Args:
            arriving: what was given, but has no message yet.
        """
        self._reconciled_at = monotonic()
        known = "1" if self.consumer.known else "0"
        lease = round(self.channel.lease * MICROSECONDS)
        kept = _receipts([*self.consumer.kept(), *arriving])
        state, *letters = self.channel.call("resume", self.consumer.id, known, lease, *kept)
        if state == b"lost":
            self.lapse()
            return False
        self.renewed(*letters)
        return True

    def resume(self) -> None:
        """Reconcile, and forget what nobody here has any more, dropped with a lost answer or connection."""
        if self.reconcile():
            self.consumer.give_up(self.consumer.orphans())

    def sweep(self) -> None:
        """Resume, once a lease."""
        if not self.channel.claiming and monotonic() - self._reconciled_at > self.channel.lease:
            self.resume()

    def lapse(self) -> None:
        """Begin anew: the lease was lost, and with it all that was held."""
        before = self.consumer.id
        lost = self.consumer.lapse()
        self.channel.claims.look_again()
        # a caller that asked something once shows no sign of life, and loses nothing by that
        logger.log(
            logging.ERROR if lost else logging.INFO,
            "Consumer %s lost its lease of %g s: %d tasks went to other workers and will not be acknowledged here.",
            before, self.channel.lease, lost,
        )  # fmt: skip


def _receipts(holdings: Iterable[Holding]) -> list[str]:
    return [part for holding in holdings for part in holding.receipt]
