"""The Lua scripts of the ledger: one file a verb, each prefixed with the shared helpers."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError


@cache
def _script(verb: str) -> tuple[str, str]:
    folder = files(__package__) / "lua"
    text = "".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("_common", verb))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def run(client: Redis, verb: str, prefixes: tuple[str, str], *arguments: str | float) -> Any:
    """Run the script of a verb on the schedule and the storage of these prefixes.

    One round trip, two the first time a server sees the script.
    """
    text, digest = _script(verb)
    try:
        return client.evalsha(digest, 2, *prefixes, *arguments)
    except NoScriptError:
        return client.eval(text, 2, *prefixes, *arguments)
