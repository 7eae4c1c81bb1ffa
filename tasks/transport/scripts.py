"""The Lua scripts: one file a verb, each prefixed with the shared helpers."""

import hashlib
import re
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


_HELPERS = "-- HELPERS\n"
"""Behind this line are the definitions that only the rest of a script needs; the usual case does not wait for them."""

_SHARED = ("_common", "_lines", "_holdings", "_admission")  # each uses only what stands before

_COMMENT = re.compile(r"--.*")
_WORD = re.compile(r"\w+")
_NAME = re.compile(r"local (?:function )?(\w+)")


@dataclass(frozen=True)
class Script:
    """The text of one verb and the name that the server knows it by."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Read the script `name` (without ``.lua``); a name that doesn't exist raises FileNotFoundError."""
    own = (files(__package__) / "lua" / f"{name}.lua").read_text()
    first, _, rest = own.rpartition(_HELPERS)
    text = _SHEBANGS.get(name, _SHEBANG) + _helpers(first) + first + _helpers(rest) + rest
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _helpers(script: str) -> str:
    """Return those of the shared definitions that a script needs: each run would make them all, used or not."""
    shared = "".join((files(__package__) / "lua" / f"{name}.lua").read_text() for name in _SHARED)
    definitions = re.split(r"^(?=local )", _COMMENT.sub("", shared), flags=re.MULTILINE)[1:]
    needed, wanted = [], set(_WORD.findall(_COMMENT.sub("", script)))
    for definition in reversed(definitions):  # each uses only earlier ones
        named = _NAME.match(definition)
        if named and named[1] in wanted:
            needed.append(definition)
            wanted.update(_WORD.findall(definition))
    return "".join(reversed(needed))


def call(client: redis.Redis, name: str, *arguments: Any, root: str = ROOT) -> Any:
    """Run the script `name` and return its raw answer; it is loaded on its first use on a server.

    Args:
        client: of the broker.
        name: the verb.
        arguments: what its header says.
        root: what the names of its keys begin with, a prefix of the application's own included.

    Raises:
        redis.ResponseError: the script refused its arguments.
        redis.ConnectionError: the server could not be reached; whether the script ran is unknown.
    """
    verb = script(name)
    try:
        return _execute(client, "EVALSHA", verb.sha, 1, root, *arguments)
    except redis.exceptions.NoScriptError:
        load(client, name)
        return _execute(client, "EVALSHA", verb.sha, 1, root, *arguments)


def _execute(client: Any, *command: Any) -> Any:
    """Do what redis-py's ``execute_command`` does, which packs and measures for longer than the server answers.

    Nothing is put before the names of keys, as kombu's clients do: the root is complete.
    """
    connection = client.connection
    if connection is None:  # a client of many connections; each channel has a client of one
        plain: Any = redis.Redis
        return plain.execute_command(client, *command)
    text = packed(command)

    def once() -> Any:
        connection.send_packed_command((text,))
        return connection.read_response()

    with client.single_connection_lock:
        return connection.retry.call_with_retry(once, lambda _: connection.disconnect())


def load(client: redis.Redis, *names: str) -> None:
    """Make the server know the scripts `names`."""
    for name in names:
        client.script_load(script(name).text)


def packed(command: tuple[Any, ...]) -> bytes:
    """Encode a command of strings, bytes and numbers as the server reads it; redis-py takes five times as long."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])
