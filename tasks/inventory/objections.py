"""What the inventory refuses to keep in a driver_info: secrets, and what JSON cannot say."""

import re
from collections.abc import Iterator
from math import isfinite
from typing import Any

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a part of a document."""

_SECRET_KEY = re.compile(r"passw|passphrase|pwd|^pw$|secret|token|(api|access|private|ssh)[_-]?key", re.IGNORECASE)
_SECRET_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_ADVICE = "keep secrets in the credentials file, and name its entry here: `credentials: NAME`"
_DEEPEST = 32


def objections(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every part of the value that cannot or must not be kept, and why; no secret is repeated."""
    if len(path) > _DEEPEST:
        yield path, f"is nested deeper than {_DEEPEST} levels"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _to_key(key, inner, path)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from objections(inner, (*path, index))
    elif isinstance(value, str):
        if _SECRET_URL.search(value):
            yield path, f"the address holds a password, which the inventory does not keep: {_ADVICE}"
    elif not isinstance(value, int | float | None) or not isfinite(value or 0):
        yield path, f"{value!r} is neither text, number, truth value, list nor mapping: put it in quotes"


def _to_key(key: Any, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if not isinstance(key, str):
        yield path, f"the key {key!r} is no text: put it in quotes"
    elif _SECRET_KEY.search(key):
        yield (*path, key), f"{key!r} smells of a secret, which the inventory does not keep: {_ADVICE}"
    else:
        yield from objections(value, (*path, key))
