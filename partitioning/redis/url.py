"""From an address to a Redis client: redis, rediss, unix, redis+socket and sentinel."""

import re
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from partitioning.errors import InvalidGroupOptions

SCHEMES = ("redis", "rediss", "unix", "redis+socket", "sentinel")


def redacted(url: str) -> str:
    """Return an address as it may be shown: without user, password and options."""
    return re.sub(r"//[^/]*@", "//", url).partition("?")[0]


def client_of(url: str, *, socket_timeout: float) -> Redis:
    """Return a client of its own pool that never sends again by itself; nothing is connected yet.

    Raises:
        InvalidGroupOptions: the address can't be read.
    """
    options: dict[str, Any] = {
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": socket_timeout,
        "retry": Retry(NoBackoff(), 0),
    }
    try:
        if urlsplit(url).scheme not in SCHEMES:
            raise ValueError(f"its scheme must be one of {', '.join(SCHEMES)}")
        if url.startswith("sentinel:"):
            return _behind_sentinels(url, options)
        return Redis(connection_pool=ConnectionPool.from_url(_as_redis_py_writes(url), **options))
    except (ValueError, TypeError) as error:
        raise InvalidGroupOptions(f"the address of the groups {redacted(url)} can't be used: {error}") from error


def _as_redis_py_writes(url: str) -> str:
    """Return kombu's ``redis+socket:///path?virtual_host=1`` as ``unix:///path?db=1``, other addresses as they are."""
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError(f"a database is a number, not {parts.path[1:]!r}")  # redis-py would take 0 instead
    if parts.scheme != "redis+socket":
        return url
    query = {("db" if key == "virtual_host" else key): value for key, value in parse_qsl(parts.query)}
    return f"unix://{parts.netloc}{parts.path}?{urlencode(query)}"


def _behind_sentinels(url: str, options: dict[str, Any]) -> Redis:
    """Return a client that asks the Sentinels for the master: ``sentinel://:pw@a:26379;b:26379/0?master_name=fleet``.

    kombu repeats the scheme before each host, so that form is read as well.
    """
    hosts = [urlsplit(part if "://" in part else f"sentinel://{part}") for part in url.split(";")]
    query = dict(parse_qsl(hosts[-1].query))
    if not query.get("master_name"):
        raise ValueError("it needs the name of its master: sentinel://host:26379/0?master_name=NAME")
    credentials = {
        "username": next((unquote(host.username) for host in hosts if host.username), None),
        "password": next((unquote(host.password) for host in hosts if host.password), None),
    }
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]  # published without types
        [(host.hostname or "localhost", host.port or 26379) for host in hosts],
        sentinel_kwargs={"socket_timeout": options["socket_timeout"], "password": query.get("sentinel_password")},
    )
    database = int(hosts[-1].path.strip("/") or "0")
    return cast("Redis", sentinel.master_for(query["master_name"], db=database, **credentials, **options))
