"""A process hears of its grants: a list in Redis."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import cast

from redis import Redis

SLICE = 20.0  # seconds of one blocking wait; below any usual idle time-out on the way


class RedisMailbox:
    """A list in Redis on which a process hears of its grants."""

    def __init__(
        self, client: Redis, sender: Redis, key: str, named_errors: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._client = client
        self._sender = sender
        self._key = key
        self._named_errors = named_errors

    def receive(self, timeout: float) -> Sequence[str]:
        """See `Mailbox`."""
        with self._named_errors():
            reply = self._client.blpop([self._key], timeout=min(timeout, SLICE))
        request_id = cast("tuple[bytes, bytes] | None", reply)
        return [request_id[1].decode()] if request_id else []

    def wake(self) -> None:
        """See `Mailbox`."""
        with self._named_errors():
            pipeline = self._sender.pipeline()
            pipeline.rpush(self._key, "")
            pipeline.pexpire(self._key, 60_000)
            pipeline.execute()

    def close(self) -> None:
        """See `Mailbox`."""
        self._client.close()
        self._client.connection_pool.disconnect()
