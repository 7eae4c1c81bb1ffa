"""The Lua scripts of this folder, sent by their hash."""

import hashlib
import time
from collections import deque
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.exceptions import ConnectionError, NoScriptError, ResponseError, TimeoutError  # noqa: A004 - theirs are meant

PAUSES = (0.01, 0.05, 0.2)  # seconds before a command that got no reply is sent again


@cache
def _script(verb: str) -> tuple[str, str]:
    folder = files(__package__)
    parts = (folder.joinpath(f"{part}.lua") for part in (f"{verb}.quick", "common", "queue", verb))
    text = "\n".join(part.read_text(encoding="utf-8") for part in parts if part.is_file())
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Answer(NamedTuple):
    """What a script returned, and whether it was asked more than once because a reply was lost."""

    text: bytes
    resent: bool


class Scripts:
    """Runs scripts over a few connections of a client's own make.

    It speaks to them directly, because `Redis.execute_command` and its pool take longer than the server does. A
    connection that has died meanwhile shows at the next command, which is then sent again.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._pool = client.connection_pool
        self._prefix = prefix
        self._idle: deque[Any] = deque()  # its ends can be used by many threads without a lock

    def run(self, verb: str, *arguments: str) -> Answer:
        """Run the script of a verb: one round trip, two the first time a server sees it.

        A command that got no reply is sent again, which is safe: every verb carries the id of its request.
        """
        text, digest = _script(verb)
        command = _packed("EVALSHA", digest, "1", self._prefix, *arguments)
        pauses = list(PAUSES)
        while True:
            try:
                return Answer(self._send(command), resent=len(pauses) < len(PAUSES))
            except NoScriptError:
                command = _packed("EVAL", text, "1", self._prefix, *arguments)
            except (ConnectionError, TimeoutError):
                if not pauses:
                    raise
                time.sleep(pauses.pop(0))

    def close(self) -> None:
        """Disconnect."""
        while self._idle:
            self._idle.pop().disconnect()

    def forget(self) -> None:
        """Leave the connections to the parent of a forked process."""
        self._idle.clear()

    def _send(self, command: bytes) -> bytes:
        # A connection that broke is connected anew and not replaced: the pool counts those that it has made, for ever.
        connection: Any
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._pool.make_connection()
        try:
            connection.connect()  # behind Sentinel this is what asks for the master; sending alone would not
            connection.send_packed_command([command])
            return cast("bytes", connection.read_response())
        except ResponseError:
            raise
        except BaseException:
            connection.disconnect()  # a reply may still be on its way
            raise
        finally:
            self._idle.append(connection)


def _packed(*words: str) -> bytes:
    """A command as the server reads it; redis-py's own packing takes a tenth of the time of a whole round trip."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded]))
