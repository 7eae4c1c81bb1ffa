"""Groups as hashes in Redis; every verb is one script, and the server's clock is the only one."""

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from partitioning.errors import GroupBackendError
from partitioning.group import Candidate, GroupView, Member, Standing
from partitioning.redis.scripts import call
from partitioning.redis.url import client_of, redacted

MICROSECONDS = 1_000_000
FIELDS = 6


class RedisGroupStore:
    """A ``GroupStore`` in Redis or Valkey. Nothing is connected before the first call.

    Args:
        url: redis://, rediss://, unix://, redis+socket:// or sentinel://.
        socket_timeout: seconds that a call waits for an answer. Defaults to 1.0.
        restart_grace: seconds after a server's start in which nobody is declared dead. Defaults to 6.0.
        prefix: what the keys begin with. Defaults to ``fleetring:group:``.

    Raises:
        InvalidGroupOptions: the address can't be read.
    """

    def __init__(
        self, url: str, *, socket_timeout: float = 1.0, restart_grace: float = 6.0, prefix: str = "fleetring:group:"
    ) -> None:
        self._address = redacted(url)
        self._client = client_of(url, socket_timeout=socket_timeout)
        self._grace = _micro(restart_grace)
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"RedisGroupStore({self._address})"

    def join(self, group: str, who: Candidate, *, lease: float, hold_down: float, take_over: bool) -> GroupView:
        """See ``GroupStore``."""
        options = (repr(float(who.weight)), _micro(lease), _micro(hold_down), int(take_over))
        return self._call("join", group, who.name, who.incarnation, *options)

    def beat(self, groups: Sequence[str], who: Candidate, *, lease: float) -> list[GroupView]:
        """See ``GroupStore``."""
        return [_view(answer) for answer in self._ask("beat", groups, who.name, who.incarnation, _micro(lease))]

    def drain(self, group: str, who: Candidate, *, draining: bool) -> GroupView:
        """See ``GroupStore``."""
        return self._call("drain", group, who.name, who.incarnation, int(draining))

    def leave(self, group: str, who: Candidate) -> None:
        """See ``GroupStore``."""
        self._call("leave", group, who.name, who.incarnation)

    def look(self, group: str) -> GroupView:
        """See ``GroupStore``."""
        return self._call("look", group)

    def close(self) -> None:
        """See ``GroupStore``."""
        self._client.close()

    def _call(self, verb: str, group: str, *arguments: str | int) -> GroupView:
        return _view(self._ask(verb, [group], *arguments))

    def _ask(self, verb: str, groups: Sequence[str], *arguments: str | int) -> list[Any]:
        # The braces keep the keys of a group in one slot of a cluster.
        keys = [f"{self._prefix}{{{group}}}:{part}" for group in groups for part in ("members", "epoch")]
        try:
            return call(self._client, verb, keys, self._grace, *arguments)
        except redis.RedisError as error:
            raise GroupBackendError(self._address, error) from error


def _view(answer: list[bytes]) -> GroupView:
    epoch, next_change = (int(number) for number in answer[:2])
    everyone = sorted(_members(answer[2:]), key=lambda member: member.name)
    return GroupView(epoch, tuple(everyone), None if next_change < 0 else next_change / MICROSECONDS)


def _members(answer: list[bytes]) -> Iterator[Member]:
    texts = [part.decode() for part in answer]
    for at in range(0, len(texts), FIELDS):
        name, incarnation, weight, standing, lease_left, age = texts[at : at + FIELDS]
        left, lived = int(lease_left) / MICROSECONDS, int(age) / MICROSECONDS
        yield Member(name, incarnation, float(weight), Standing(standing), left, lived)


def _micro(seconds: float) -> int:
    return round(seconds * MICROSECONDS)
