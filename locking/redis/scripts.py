"""The Lua scripts of this folder, sent by their hash."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import cast

from redis import Redis
from redis.exceptions import NoScriptError


@cache
def _script(verb: str) -> tuple[str, str]:
    folder = files(__package__)
    text = "\n".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("common", verb))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def run(client: Redis, verb: str, prefix: str, *arguments: str) -> bytes:
    """Run the script of a verb: one round trip, two the first time a server sees it."""
    text, digest = _script(verb)
    try:
        return cast("bytes", client.evalsha(digest, 1, prefix, *arguments))
    except NoScriptError:
        return cast("bytes", client.eval(text, 1, prefix, *arguments))
