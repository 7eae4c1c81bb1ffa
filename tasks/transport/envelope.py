"""What the broker knows about a message: its id, priority, delay and lifetime; and the way back to a message."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from json import JSONDecoder
from typing import Any, NamedTuple, Self

from celery import current_app
from kombu.utils.json import JSONEncoder, object_hook

LARGEST_PRIORITY = 2**53
"""Priorities from -2**53 to 2**53 are exact: a sorted set's score is a double."""

MICROSECONDS = 1_000_000
LONG_AGO = "1970-01-01T00:00:00+00:00"

ORDERING = "fleetring_ordering"
"""The header with a task's `ordering`."""

Message = dict[str, Any]

encode = JSONEncoder().encode  # kombu's ``dumps`` makes an encoder for each call, and its ``loads`` a decoder
decode = JSONDecoder(object_hook=object_hook).decode


def exact_priority(priority: Any) -> int:
    """Return `priority` when a queue can keep it exactly.

    Raises:
        ValueError: it is no integer within +-2**53.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > LARGEST_PRIORITY:
        raise ValueError(f"priority {priority!r} is not usable: give an integer from -2**53 to 2**53")
    return priority


def ordering(keys: Sequence[str], *, shared: bool) -> str:
    """Return the value of the header `ORDERING`, by which tasks that have a key in common are claimed in their order.

    As soon as one is claimed, those that come after it, by priority and arrival, are held back until it says that it
    has taken its place (`Queues.placed`) among those that want the same, or has ended. Two that share don't mind.
    """
    return encode({"keys": keys, "mode": "shared" if shared else "exclusive"})


def priority_of(message: Message) -> int:
    """Return the priority property of `message`. Defaults to 0; what is no usable integer raises ValueError."""
    return exact_priority(message["properties"].get("priority") or 0)


def envelope(queue: str, message: Message) -> tuple[str, str, int, int, int | str, str, str]:
    """Return what ``publish.lua`` takes for one task: queue, id, priority, delay, lifetime, ordering, payload.

    Both times are sent as differences, so that only the server's clock counts. The ETA leaves the message: a
    worker must not wait for it once more. So does the ordering, which only the broker reads.
    """
    headers = message.get("headers") or {}
    order = headers.get(ORDERING) or ""
    if order:
        headers = {name: value for name, value in headers.items() if name != ORDERING}
        message = {**message, "headers": headers}
    task_id = headers.get("id") or message["properties"]["delivery_tag"]
    delay = _from_now(headers.get("eta"))
    lifetime = _from_now(headers.get("expires"))
    if delay is not None:
        message = {**message, "headers": {**headers, "eta": None}}
    return (
        queue,
        str(task_id),
        priority_of(message),
        max(delay or 0, 0),
        "" if lifetime is None else lifetime,
        order,
        encode(message),
    )


def _from_now(moment: Any) -> int | None:
    """Microseconds until `moment`; None without one, or when a worker has to refuse it as unreadable."""
    if not moment:
        return None
    try:
        when = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    except ValueError:
        return None
    if when.tzinfo is None:
        timezone: tzinfo = current_app.timezone
        when = when.replace(tzinfo=timezone)
    return round((when - datetime.now(UTC)).total_seconds() * MICROSECONDS)


class Delivery(NamedTuple):
    """One task as ``claim.lua`` hands it out."""

    queue: str
    member: str
    expired: bool
    record: bytes

    @classmethod
    def from_answer(cls, place: bytes, record: bytes) -> Self:
        """Read what the script says of one task."""
        size, _, names = place[1:].partition(b" ")
        end = int(size)
        return cls(names[:end].decode(), names[end:].decode(), place[:1] == b"1", record)

    @property
    def task_id(self) -> str:
        """The id of the task; the 16 digits before it are its arrival in microseconds."""
        return self.member[16:]

    def message(self, tag: str) -> Message:
        """Build the kombu message, with the broker's knowledge in it and `tag` as its delivery tag.

        Raises:
            ValueError: the payload is no JSON object with properties, so nobody can read it.
        """
        header, _, payload = self.record.partition(b"\n")
        _, priority, deliveries, _, *order = header.split(b" ", 4)
        message = decode(payload.decode())
        if not isinstance(message, dict) or not isinstance(message.get("properties"), dict):
            raise ValueError("the payload is no message: an object with properties is wanted")
        properties = message["properties"]
        info = properties.setdefault("delivery_info", {})
        properties.update(delivery_tag=tag, priority=int(priority), arrival=int(self.member[:16]) / MICROSECONDS)
        if order:
            properties["turning"] = self.member
        if int(deliveries):
            info["redelivered"] = True
        if self.expired and message.get("headers"):
            message["headers"]["expires"] = LONG_AGO  # the server's clock has decided; the worker records it
        return message
