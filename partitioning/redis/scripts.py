"""The Lua scripts: one file a verb, each behind the shared helpers."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

# A server whose memory is full must not declare its members dead: beats write, but hardly grow.
_SHEBANG = "#!lua flags=allow-oom\n"


@cache
def _script(verb: str) -> tuple[str, str]:
    folder = files(__package__) / "lua"
    text = _SHEBANG + (folder / "_common.lua").read_text() + (folder / f"{verb}.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def call(client: Redis, verb: str, keys: list[str], *arguments: str | int) -> list[Any]:
    """Run the script of a verb: one round trip, two the first time a server sees it.

    Raises:
        redis.RedisError: there was no answer, or a refusal; whether the script ran is unknown.
    """
    text, digest = _script(verb)
    execute: Any = client.execute_command
    try:
        answer: list[Any] = execute("EVALSHA", digest, len(keys), *keys, *arguments)
    except NoScriptError:
        answer = execute("EVAL", text, len(keys), *keys, *arguments)
    return answer
