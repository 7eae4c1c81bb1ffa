"""The Lua scripts of this folder, sent by their hash."""

import hashlib
import time
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.exceptions import ConnectionError, NoScriptError, ResponseError, TimeoutError  # noqa: A004 - theirs are meant

PAUSES = (0.01, 0.05, 0.2)  # seconds before a command that got no reply is sent again


@cache
def _script(verb: str) -> tuple[str, str]:
    folder = files(__package__)
    parts = (folder.joinpath(f"{part}.lua") for part in (f"{verb}.quick", "common", verb))
    text = "\n".join(part.read_text(encoding="utf-8") for part in parts if part.is_file())
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Answer(NamedTuple):
    """What a script returned, and whether it was asked more than once because a reply was lost."""

    text: bytes
    resent: bool


def run(client: Redis, verb: str, prefix: str, *arguments: str) -> Answer:
    """Run the script of a verb: one round trip, two the first time a server sees it.

    A command that got no reply is sent again, which is safe: every verb carries the id of its request. It goes straight
    to a connection of the client's pool, as `Redis.execute_command` takes as long as the server does.
    """
    text, digest = _script(verb)
    command: tuple[str | int, ...] = ("EVALSHA", digest, 1, prefix, *arguments)
    pauses = list(PAUSES)
    while True:
        try:
            return Answer(_send(client, *command), resent=len(pauses) < len(PAUSES))
        except NoScriptError:
            command = ("EVAL", text, 1, prefix, *arguments)
        except (ConnectionError, TimeoutError):
            if not pauses:
                raise
            time.sleep(pauses.pop(0))


def _send(client: Redis, *command: str | int) -> bytes:
    pool = client.connection_pool
    connection: Any = pool.get_connection()  # published half typed
    try:
        connection.send_command(*command)
        return cast("bytes", connection.read_response())
    except BaseException as error:
        if not isinstance(error, ResponseError):
            connection.disconnect()  # a reply may still be on its way
        raise
    finally:
        pool.release(connection)
