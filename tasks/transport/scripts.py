"""The Lua scripts: one file a verb, each prefixed with the shared helpers."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import redis

ROOT = "fleetring:"
"""What every key of the queues begins with, behind the transport's ``global_keyprefix``."""

# Claiming and settling only make room, so they must go on working on a server whose memory is full.
_SHEBANGS = {"add": "#!lua\n", "publish": "#!lua\n", "adopt": "#!lua\n", "exhume": "#!lua\n"}
_SHEBANG = "#!lua flags=allow-oom\n"


@dataclass(frozen=True)
class Script:
    """The text of one verb and the name that the server knows it by."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Read the script `name` (without ``.lua``); a name that doesn't exist raises FileNotFoundError."""
    folder = files(__package__) / "lua"
    text = _SHEBANGS.get(name, _SHEBANG) + (folder / "_common.lua").read_text() + (folder / f"{name}.lua").read_text()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def call(client: redis.Redis, name: str, *arguments: Any, root: str = ROOT) -> Any:
    """Run the script `name` and return its raw answer; it is loaded on its first use on a server.

    Raises:
        redis.ResponseError: the script refused its arguments.
        redis.ConnectionError: the server could not be reached; whether the script ran is unknown.
    """
    verb = script(name)
    execute: Any = client.execute_command
    try:
        return execute("EVALSHA", verb.sha, 1, root, *arguments)
    except redis.exceptions.NoScriptError:
        load(client, name)
        return execute("EVALSHA", verb.sha, 1, root, *arguments)


def load(client: redis.Redis, *names: str) -> None:
    """Make the server know the scripts `names`."""
    for name in names:
        client.script_load(script(name).text)


def packed(command: tuple[Any, ...]) -> bytes:
    """Encode a command of strings, bytes and numbers as the server reads it; redis-py takes five times as long."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])
