"""What a picture looks like to callers: replies, holders and waiters."""

from collections import Counter
from collections.abc import Sequence

from locking.records import Holder, LockState, Waiter, party, states
from locking.sql.picture import Entry, Picture
from locking.store import Reply, Status


def granted(picture: Picture, entry: Entry) -> Reply:
    """The reply to a holder."""
    return Reply(Status.GRANTED, entry.fence, entry.ends - picture.now, dict(sorted(entry.modes.items())))


def obstacles(picture: Picture, asker: Entry, status: Status) -> Reply:
    """Who stands in the way of `asker`, how many wait for its names, and when it should ask again."""
    against = [(holder, name) for name in asker.modes for holder in picture.holders_against(asker, name)]
    behind = any(picture.queue_against(asker, name) for name in asker.modes)
    waiters = {entry.id for name in asker.modes for entry in picture.queue(name)} - {asker.id}
    ends = [holder.ends + holder.lock_delay - picture.now for holder, _ in against]
    return Reply(
        status,
        holders=[_holder(holder, name, picture.now) for holder, name in against],
        waiters=len(waiters),
        retry_after=asker.patience / 2 if behind else min([*ends, asker.patience / 2]),
        behind=behind,
    )


def holders_on(entries: Sequence[Entry], name: str, now: float) -> Sequence[Holder]:
    """Who of `entries` holds `name`."""
    return [_holder(entry, name, now) for entry in entries if entry.holds and name in entry.modes]


def everybody(entries: Sequence[Entry], now: float) -> list[LockState]:
    """Who of `entries` holds and who waits, by name."""
    holders = [_holder(entry, name, now) for entry in entries if entry.holds for name in entry.modes]
    waiters, lengths = list[Waiter](), Counter[str]()
    for entry in sorted((entry for entry in entries if entry.queues), key=lambda entry: entry.place):
        for name in entry.modes:
            waiters.append(_waiter(entry, name, lengths[name], now))
            lengths[name] += 1
    return states(holders, waiters)


def _holder(entry: Entry, name: str, now: float) -> Holder:
    return Holder(
        name=name,
        mode=entry.modes[name],
        owner=entry.owner,
        **party(entry.info),
        fence=entry.fence,
        age=now - entry.since,
        lease_left=entry.ends - now,
    )


def waiters_on(entries: Sequence[Entry], name: str, now: float) -> Sequence[Waiter]:
    """Who of `entries` waits for `name`, in order."""
    queue = sorted((entry for entry in entries if entry.queues and name in entry.modes), key=lambda entry: entry.place)
    return [_waiter(entry, name, position, now) for position, entry in enumerate(queue)]


def _waiter(entry: Entry, name: str, position: int, now: float) -> Waiter:
    return Waiter(
        name=name,
        mode=entry.asks(name),
        owner=entry.owner,
        **party(entry.info),
        priority=entry.info.get("priority", 0),
        position=position,
        age=now - entry.arrival,
    )
