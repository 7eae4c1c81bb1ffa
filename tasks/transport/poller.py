"""The poller: keeps each consuming channel's two connections in the event loop, one that asks, one that is woken."""

import logging
import math
from collections.abc import Sequence
from queue import Empty
from time import monotonic
from typing import Any

from tasks.transport.channel import CLAIM, Channel
from tasks.transport.kombu_parts import BasePoller

logger = logging.getLogger(__name__)


class Poller(BasePoller):  # type: ignore[misc] # see kombu_parts
    """Polls the connections of all channels of one transport.

    With an event loop (a worker) the loop calls `on_poll_start` before each wait; without one (`drain_events`)
    `get` does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop: Any = None

    def on_poll_start(self) -> None:
        """Send what there is to send, before the wait for answers."""
        for channel in list(self._channels):
            if channel.claiming:
                continue  # the loop comes here several times a task, and has nothing to say until the answer is there
            queues = channel.active_queues
            if queues:
                self._register_claims(channel, queues)
                channel.listen_anew()
            if (queues or channel.active_fanout_queues) and not self._listens(channel):
                self._register_LISTEN(channel)

    def _listens(self, channel: Channel) -> bool:
        return channel._in_listen and self._client_registered(channel, channel.subclient, "LISTEN")  # type: ignore[no-any-return] # noqa: SLF001 - as kombu

    def _register_claims(self, channel: Channel, queues: Sequence[str]) -> None:
        if not self._client_registered(channel, channel.client, CLAIM):
            channel.forget_claim()
            self._register(channel, channel.client, CLAIM)
            channel.claims.resume()
        channel.claims.maybe_send(queues)

    @property
    def fds(self) -> dict[int, Any]:
        """The descriptors that the event loop does not watch yet; kombu adds them before each wait."""
        watched = self.loop.readers if self.loop is not None else ()
        return {fd: channel for fd, channel in self._fd_to_chan.items() if fd not in watched}

    def on_readable(self, fileno: int) -> Any:
        """Read from one connection; a full consumer reads, too, for its answers are few and small.

        Raises:
            Empty: nothing was delivered, only a hint or a confirmation; kombu would count a return as a delivery.
        """
        known = self._fd_to_chan.get(fileno)
        if known is None:
            logger.debug("Descriptor %r became readable after its channel had gone.", fileno)
            return None
        channel, kind = known
        if not channel.handlers[kind]():
            raise Empty
        return True

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """Wait for one delivery, at most `timeout` seconds, without an event loop.

        Raises:
            Empty: none came. Heartbeats are no end of the wait, for kombu would begin it anew.
        """
        deadline = math.inf if timeout is None else monotonic() + timeout
        while True:
            wait = min(self._show_life(), max(deadline - monotonic(), 0))
            try:
                return super().get(callback, timeout=None if wait == math.inf else wait)
            except Empty:
                if timeout is None or monotonic() >= deadline:
                    raise

    def _show_life(self) -> float:
        """Do what an event loop would do by its timers; returns the seconds until it is due again."""
        consuming = [channel for channel in self._channels if channel.active_queues]
        for channel in consuming:
            channel.claims.beat()
            channel.settlements.sweep()
        return min((channel.claims.patience for channel in consuming), default=math.inf)

    def beat(self) -> None:
        """Let every consuming channel show a sign of life; called by a timer of the event loop."""
        for channel in [channel for channel in self._channels if channel.active_queues]:
            channel.claims.beat()
            channel.settlements.sweep()
            channel.claims.adopt()
