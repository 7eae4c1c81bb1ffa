"""The store of locks in Redis or Valkey."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from locking.errors import StoreError
from locking.modes import LockMode
from locking.records import Grant, Holder, LockState, Waiter, party, states
from locking.redis.mailbox import SLICE, RedisMailbox
from locking.redis.scripts import Answer, Scripts
from locking.redis.url import RedisAddress
from locking.request import Request
from locking.store import Mailbox, OnGrants, Reply, Status

BACKSTOP = 3_600_000  # ms that keys outlive what they describe; as in common.lua


class RedisStore:
    """Locks in one Redis or Valkey database, below one prefix with one hash tag.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+socket://` or `sentinel://`.
        namespace: Sets apart several deployments in one database.
        on_grants: Hears of the grants that a call made to waiters.
    """

    def __init__(self, url: str, namespace: str, on_grants: OnGrants) -> None:
        self.on_grants = on_grants
        self._address = RedisAddress(url)
        self._prefix = f"{{{namespace}}}:"
        self._client = self._address.client(socket_timeout=5.0)
        self._scripts = Scripts(self._client, self._prefix)

    def check(self) -> None:
        """Refuse a server that may evict locks or that doesn't take writes."""
        with self._named_errors():
            policy = _eviction_policy(self._client)
        if policy not in ("noeviction", "unknown"):
            raise StoreError(
                f"Redis at {self._address} has maxmemory-policy {policy} and could evict locks;"
                " set it to noeviction, or give locks a server of their own"
            )
        probe = Request(f"startup-check.{secrets.token_hex(8)}", {"startup-check": LockMode.SHARED}, "startup-check")
        self.acquire(probe)  # writes, reads the time in a script, and leaves nothing
        self.release(probe.id)

    def acquire(self, request: Request) -> Reply:
        """See `Store`."""
        life = request.lease if request.max_hold is None else min(request.lease, request.max_hold)
        lines = self._verb(
            "acquire",
            request.id,
            _document(request),
            _want(request.wants),
            request.owner,
            str(_ms(life)),
            str(_ms(request.lock_delay)),
            str(_ms(request.lease + request.lock_delay) + BACKSTOP),
            request.ticket,
        )
        return _reply(lines, request.wants)

    def release(self, request_id: str) -> bool:
        """See `Store`; if a reply was lost, the first sending has released it."""
        answer = self._run("release", request_id)
        return self._told(answer)[0] == b"granted" or answer.resent

    def renew(self, request_ids: Sequence[str]) -> Sequence[float]:
        """See `Store`."""
        return [int(left) / 1000 for left in self._verb("renew", *request_ids)[2:]]

    def upgrade(self, request_id: str, *, wait: bool) -> Reply:
        """See `Store`."""
        return self._ask("upgrade", request_id, "wait" if wait else "try")

    def withdraw(self, request_id: str) -> Reply:
        """See `Store`."""
        return self._ask("upgrade", request_id, "withdraw")

    def downgrade(self, request_id: str) -> Reply:
        """See `Store`."""
        return self._ask("downgrade", request_id)

    def change_priority(self, request_id: str, priority: int, ageing: float | None) -> bool:
        """See `Store`."""
        level = "" if ageing is None else f"{ageing * 1e6:.17g}"
        return self._verb("change_priority", request_id, str(priority), level)[0] == b"changed"

    def tend(self) -> Sequence[str]:
        """See `Store`."""
        return [line.decode() for line in self._verb("tend")[2:] if line]

    def transfer(self, request_id: str, successor: Request) -> Reply:
        """See `Store`."""
        return self._ask("transfer", request_id, successor.id, _document(successor), successor.owner)

    def observe(self, names: Sequence[str]) -> Mapping[str, int]:
        """See `Store`."""
        return dict(zip(names, map(int, self._run("observe", *names).text.split(b"\n")), strict=True))

    def holders(self, name: str) -> Sequence[Holder]:
        """See `Store`."""
        return self._show(name)[0]

    def waiters(self, name: str) -> Sequence[Waiter]:
        """See `Store`."""
        return self._show(name)[1]

    def list(self) -> Sequence[LockState]:
        """See `Store`."""
        holders, waiters = self._show()
        return states(holders, waiters)

    def break_(self, name: str) -> Sequence[Holder]:
        """See `Store`."""
        return _holders(json.loads(self._verb("break", name)[2])["holders"])

    def reap(self, owner: str) -> int:
        """See `Store`."""
        return int(self._verb("reap", owner)[2])

    def open_mailbox(self, address: str) -> Mailbox:
        """See `Store`."""
        client = self._address.client(socket_timeout=SLICE + 5.0)
        return RedisMailbox(client, self._client, f"{self._prefix}m:{address}", self._named_errors)

    def after_fork(self) -> None:
        """See `Store`; the client's own pool sees a fork by itself."""
        self._scripts.forget()

    def close(self) -> None:
        """See `Store`."""
        self._scripts.close()
        self._client.close()
        self._client.connection_pool.disconnect()

    def _show(self, *name: str) -> tuple[Sequence[Holder], Sequence[Waiter]]:
        shown = json.loads(self._run("show", *name).text)
        return _holders(shown["holders"]), [_waiter(row) for row in shown["waiters"]]

    def _ask(self, verb: str, *arguments: str) -> Reply:
        return _reply(self._verb(verb, *arguments))

    def _verb(self, verb: str, *arguments: str) -> Sequence[bytes]:
        return self._told(self._run(verb, *arguments))

    def _told(self, answer: Answer) -> Sequence[bytes]:
        """The lines of an answer, after the grants in it were told on."""
        lines = answer.text.split(b"\n")
        if lines[1]:
            self.on_grants([_grant(row) for row in json.loads(lines[1])])
        return lines

    def _run(self, verb: str, *arguments: str) -> Answer:
        try:
            return self._scripts.run(verb, *arguments)
        except RedisError as error:
            raise self._named(error) from error

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise self._named(error) from error

    def _named(self, error: RedisError) -> StoreError:
        return StoreError(f"locks in Redis at {self._address}: {error}; {_advice(error)}")


def _eviction_policy(client: Redis) -> str:
    try:
        found = cast("dict[str, str]", client.config_get("maxmemory-policy"))
    except ResponseError:  # CONFIG is often forbidden on rented servers, where INFO tells it
        found = {"maxmemory-policy": str(client.info("memory").get("maxmemory_policy", "unknown"))}
    return found.get("maxmemory-policy", "unknown")


def _advice(error: RedisError) -> str:
    text = str(error)
    if "read only replica" in text:
        return "this is a replica: give the address of the primary, or a sentinel:// address"
    if "maxmemory" in text:
        return "its memory is full: raise maxmemory, or give locks a server of their own"
    if text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return "check user and password in the address"
    return "check that the server runs and that the address is right"


def _reply(lines: Sequence[bytes], asked: Mapping[str, LockMode] | None = None) -> Reply:
    """The lines of an answer read; without a line on what was granted it is what was `asked` for."""
    status, _, *facts = lines
    if status == b"granted":
        fence, left, want = facts
        return Reply(Status.GRANTED, int(fence), int(left) / 1000, _wants(want) if want else asked or {})
    told = json.loads(facts[0])
    return Reply(
        Status(status.decode()),
        holders=_holders(told.get("holders", ())),
        waiters=told.get("waiters", 0),
        retry_after=told.get("again", 0) / 1000,
        behind=told.get("behind", False),
        missed=told.get("missed", False),
    )


_json = json.JSONEncoder(separators=(",", ":")).encode


def _document(request: Request) -> str:
    document: dict[str, Any] = {
        "session": request.session,
        "info": _json(request.info),
        "lease": _ms(request.lease),
        "delay": _ms(request.lock_delay),
        "mailbox": request.mailbox,
        "patience": _ms(request.patience),
        "provisional": _ms(request.provisional),
        "priority": request.priority,
    }
    if request.wait:
        document["wait"] = True
    if request.at_least:
        document["some"] = request.at_least
    if request.ageing is not None:
        document["ageing"] = request.ageing * 1e6
    if request.arrived is not None:
        document["arrived"] = f"{request.arrived * 1e6:.0f}"  # as text: it has more digits than the script's JSON keeps
    if request.max_hold is not None:
        document["hold"] = _ms(request.max_hold)
    return _json(document)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _want(wants: Mapping[str, LockMode]) -> str:
    want: dict[str, list[str]] = {}
    for name, mode in wants.items():
        want.setdefault(mode.letter, []).append(name)
    return _json(want)


def _wants(want: bytes) -> dict[str, LockMode]:
    modes = {name: LockMode.of_letter(letter) for letter, names in json.loads(want).items() for name in names}
    return dict(sorted(modes.items()))


def _holders(rows: Sequence[Sequence[Any]]) -> list[Holder]:
    return [_holder(row) for row in rows]


def _grant(row: Sequence[str]) -> Grant:
    request, owner, info_text, mailbox = row
    return Grant(request, owner, json.loads(info_text)["task"], mailbox)


def _holder(row: Sequence[Any]) -> Holder:
    name, mode, owner, info_text, fence, age, left = row
    info = json.loads(info_text)
    return Holder(
        name=name,
        mode=LockMode.of_letter(mode),
        owner=owner,
        **party(info),
        fence=int(fence),
        age=age / 1000,
        lease_left=left / 1000,
    )


def _waiter(row: Sequence[Any]) -> Waiter:
    name, mode, owner, info_text, priority, position, age = row
    return Waiter(
        name=name,
        mode=LockMode.of_letter(mode),
        owner=owner,
        **party(json.loads(info_text)),
        priority=int(priority),
        position=position,
        age=age / 1000,
    )
