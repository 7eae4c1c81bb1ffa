"""From an address to a Redis client: redis, rediss, unix, redis+socket and sentinel."""

import re
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from locking.errors import InvalidRequest

SCHEMES = ("redis", "rediss", "unix", "redis+socket", "sentinel")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """An address of Redis; `client` connects to it."""

    url: str

    def __str__(self) -> str:
        return re.sub(r"//[^/]*@", "//", self.url).partition("?")[0]

    def client(self, *, socket_timeout: float) -> Redis:
        """A client of its own pool that doesn't send again by itself.

        Raises:
            InvalidRequest: The address can't be read.
        """
        options: dict[str, Any] = {
            "socket_timeout": socket_timeout,
            "socket_connect_timeout": 5.0,
            "retry": Retry(NoBackoff(), 0),
        }
        try:
            if self.url.startswith("sentinel:"):
                return _sentinel(self.url, options)
            return Redis(connection_pool=ConnectionPool.from_url(_plain(self.url), **options))
        except (ValueError, TypeError) as error:
            raise InvalidRequest(f"the lock address {self} can't be used: {error}") from error


def _plain(url: str) -> str:
    """`url` as redis-py writes it: kombu's `redis+socket:///path?virtual_host=1` is its `unix:///path?db=1`."""
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError(f"a database is a number, not {parts.path[1:]!r}")  # redis-py would take 0 instead
    if parts.scheme != "redis+socket":
        return url
    query = {("db" if key == "virtual_host" else key): value for key, value in parse_qsl(parts.query)}
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"unix://{login}{parts.path}?{urlencode(query)}"


def _sentinel(url: str, options: dict[str, Any]) -> Redis:
    """A client that asks the Sentinels for the master: `sentinel://:pw@a:26379;b:26379/0?master_name=fleet`.

    kombu repeats the scheme before each host, so that form is read as well.
    """
    hosts = [urlsplit(part if "://" in part else f"sentinel://{part}") for part in url.split(";")]
    last = hosts[-1]
    query = dict(parse_qsl(last.query))
    master = query.get("master_name")
    if not master:
        raise InvalidRequest(
            "a sentinel address needs the name of its master: sentinel://host:26379/0?master_name=NAME"
        )
    database = last.path.strip("/") or "0"
    password = next((unquote(host.password) for host in hosts if host.password), None)
    username = next((unquote(host.username) for host in hosts if host.username), None)
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]  # published without types
        [(host.hostname or "localhost", host.port or 26379) for host in hosts],
        sentinel_kwargs={"socket_timeout": 2.0, "password": query.get("sentinel_password")},
    )
    return cast("Redis", sentinel.master_for(master, db=int(database), username=username, password=password, **options))
