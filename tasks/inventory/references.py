"""How people name nodes and subclouds: what a legal name is, and what is a UUID."""

import re
from collections.abc import Iterable
from uuid import UUID

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def as_uuid(reference: str) -> str | None:
    """The canonical form of a UUID in any of its usual spellings, or None for everything else."""
    try:
        return str(UUID(reference))
    except ValueError:
        return None


def legal_name(name: str) -> str:
    """Return the name, or raise ValueError: letters, digits, dot, underscore and hyphen, and nothing like a UUID."""
    if not _NAME.match(name):
        raise ValueError("a name starts with a letter or digit and goes on with letters, digits, '.', '_' and '-'")
    if as_uuid(name):
        raise ValueError("a name must not look like a UUID, or nobody could tell the two apart")
    return name


def unique(references: str | Iterable[str]) -> list[str]:
    """The references in the caller's order, each once; a lone string is one reference, not its letters."""
    return [references] if isinstance(references, str) else list(dict.fromkeys(references))
