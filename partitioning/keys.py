"""The key under which an object is placed on a ring."""

from uuid import UUID

from partitioning.errors import UnstableKey


def hash_key(item: object) -> str | bytes:
    """Return the key of an object: itself for str and bytes, its text for int and UUID, else its ``__hash_key__()``.

    Raises:
        UnstableKey: the object has none of these; its ``str()`` may hold an address, and differ in every process.
    """
    if isinstance(item, str | bytes):
        return item
    if isinstance(item, int | UUID):
        return str(item)
    own = getattr(item, "__hash_key__", None)
    if own is None:
        raise UnstableKey(item)
    key: str | bytes = own()
    return key
