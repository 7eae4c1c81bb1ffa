"""The broker's address in the forms that kombu, Celery and redbeat want; most of the time they want it as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from tasks.errors import SettingsError


@dataclass(frozen=True)
class Sentinels:
    """A master behind Sentinels: ``sentinel://:pw@a:26379;sentinel://b:26379/0?master_name=fleet``.

    Raises:
        SettingsError: the master's name is missing, or the database is no number.
    """

    hosts: tuple[tuple[str, int], ...]
    database: int
    username: str | None
    password: str | None
    master_name: str
    sentinel_password: str | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read an address; every host but the first may come without its scheme."""
        parts = [urlsplit(part if "://" in part else f"sentinel://{part}") for part in url.split(";")]
        query = dict(parse_qsl(parts[-1].query))
        database = parts[-1].path.strip("/") or "0"
        if not query.get("master_name") or not database.isdecimal():
            raise SettingsError(
                "a sentinel address needs the name of its master, and a number for its database: "
                "sentinel://HOST:26379;sentinel://HOST:26379/0?master_name=NAME"
            )
        return cls(
            hosts=tuple((part.hostname or "localhost", part.port or 26379) for part in parts),
            database=int(database),
            username=next((unquote(part.username) for part in parts if part.username), None),
            password=next((unquote(part.password) for part in parts if part.password), None),
            master_name=query["master_name"],
            sentinel_password=query.get("sentinel_password"),
        )

    @property
    def url(self) -> str:
        """The address as kombu and Celery read it: everything that isn't an option, once for each host."""
        login = ":".join(quote(part or "", safe="") for part in (self.username, self.password))
        return ";".join(
            f"sentinel://{'' if login == ':' else f'{login}@'}{host}:{port}/{self.database}"
            for host, port in self.hosts
        )

    @property
    def transport_options(self) -> Mapping[str, Any]:
        """What kombu and Celery take beside the address."""
        own = {"password": self.sentinel_password} if self.sentinel_password else {}
        return {"master_name": self.master_name, "sentinel_kwargs": {"socket_timeout": 2.0, **own}}


def for_celery(url: str) -> tuple[str, Mapping[str, Any]]:
    """Return a broker's or result store's address as Celery takes it, and the options that go beside it."""
    if not url.startswith("sentinel:"):
        return url, {}
    sentinels = Sentinels.parse(url)
    return sentinels.url, sentinels.transport_options


def for_redbeat(url: str) -> tuple[str, Mapping[str, Any]]:
    """Return the broker's address as redbeat takes it, and the options that go beside it."""
    if url.startswith("redis+socket:"):
        return _socket(url), {}
    if not url.startswith("sentinel:"):
        return url, {}
    sentinels = Sentinels.parse(url)
    return "redis-sentinel://", {
        "sentinels": list(sentinels.hosts),
        "service_name": sentinels.master_name,
        "db": sentinels.database,
        "username": sentinels.username,
        "password": sentinels.password,
        "sentinel_kwargs": sentinels.transport_options["sentinel_kwargs"],
    }


def _socket(url: str) -> str:
    """Kombu's ``redis+socket:///path?virtual_host=1`` is ``unix:///path?db=1`` to redis-py."""
    parts = urlsplit(url)
    query = {("db" if key == "virtual_host" else key): value for key, value in parse_qsl(parts.query)}
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"unix://{login}{parts.path}?{urlencode(query)}"
