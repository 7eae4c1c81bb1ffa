"""The register of workers in the broker: each question one script, by the server's clock."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from celery import Celery
from redbeat.schedulers import get_redis

from tasks.workers.records import Report, Seen, Wish

if TYPE_CHECKING:
    from redis import Redis

ROOT = "fleetring:workers:"
#: For so many seconds a worker that fell silent is listed as lost.
REMEMBERED = 86_400.0


@cache
def _text(verb: str) -> str:
    return (files(__package__) / "lua" / f"{verb}.lua").read_text(encoding="utf-8")


class Register:
    """What workers say of themselves, with a time-to-live, and what operators want of them, without one.

    It lies beside the membership in the broker, not in the inventory: it lives by the server's clock and must end by
    itself with its worker, which rows don't; and a worker must be seen while the database is away.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    @property
    def _client(self) -> "Redis":
        client: Redis = get_redis(self._app)
        return client

    def _run(self, verb: str, *arguments: str | int) -> Any:
        return self._client.register_script(_text(verb))(keys=[ROOT], args=list(arguments))

    def sign(self, report: Report, ttl: float) -> Wish:
        """Publish what a worker says of itself for `ttl` seconds; returns what is wanted of it."""
        milliseconds = round(ttl * 1000), round(REMEMBERED * 1000)
        wish: Wish = self._run("sign", report.name, report.incarnation, report.dump(), *milliseconds)
        return wish

    def withdraw(self, name: str, incarnation: str) -> None:
        """Forget a worker that ends; a later incarnation stays."""
        self._run("withdraw", name, incarnation)

    def drain(self, name: str) -> None:
        """Want a worker drained, whatever start of it, until `resume`."""
        self._client.sadd(f"{ROOT}drains", name)

    def resume(self, name: str) -> None:
        """Want a worker to work."""
        self._client.srem(f"{ROOT}drains", name)

    def stop(self, name: str, incarnation: str) -> None:
        """Want this start of a worker to end."""
        self._client.hset(f"{ROOT}stops", name, incarnation)

    def read(self) -> list[Seen]:
        """Return all workers that are known, sorted by name."""
        flat = self._run("read")
        return [_seen(*flat[i : i + 5]) for i in range(0, len(flat), 5)]


def _seen(name: str, report: str, age: str, drain: str, stop: str) -> Seen:
    return Seen(name, Report.parse(report) if report else None, float(age) if age else None, bool(drain), stop or None)
