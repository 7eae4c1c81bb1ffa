"""Which store an address means."""

from urllib.parse import urlsplit

from locking.errors import InvalidRequest
from locking.store import OnGrants, Store

REDIS = ("redis", "rediss", "unix", "redis+socket", "sentinel")
SQL = ("sqlite", "postgresql", "mysql", "mariadb")


def open_store(url: str, namespace: str, on_grants: OnGrants) -> Store:
    """The store at `url`; the libraries of the other kind aren't imported.

    Raises:
        InvalidRequest: No store is known for this address.
    """
    if not isinstance(url, str):
        raise InvalidRequest(f"the lock address must be a string, not {type(url).__name__}")
    scheme = urlsplit(url).scheme
    if scheme in REDIS:
        from locking.redis import RedisStore  # noqa: PLC0415 - only what is used is imported

        return RedisStore(url, namespace, on_grants)
    if scheme.partition("+")[0] in SQL:
        from locking.sql import SqlStore  # noqa: PLC0415 - only what is used is imported

        return SqlStore(url, namespace, on_grants)
    raise InvalidRequest(
        f"no store of locks is known for {scheme or 'an address without a scheme'}:"
        f" use {', '.join(f'{name}://' for name in (*REDIS, *SQL))}"
    )
