"""What each verb decides, given a picture: the same rules as in the Lua scripts, without any SQL."""

from collections.abc import Sequence
from dataclasses import replace

from locking.modes import LockMode
from locking.records import Holder
from locking.request import Request
from locking.sql.ledger import names_in
from locking.sql.picture import FRONT, Entry, Picture
from locking.sql.telling import granted, holders_on, obstacles
from locking.store import Reply, Status


def acquire(picture: Picture, request: Request) -> Reply:
    """Grant, queue or refuse a request; confirm it if it is known."""
    if known := picture.entries.get(request.id):
        return _ask_again(picture, known)
    asker = entry_of(request)
    if ticket := picture.entries.get(request.ticket):
        return _come_back(picture, ticket, asker)
    picture.place(asker, request.priority, request.ageing, request.arrived)
    if request.at_least:
        asker.modes = {name: mode for name, mode in request.wants.items() if picture.free(asker, name)}
        if len(asker.modes) < request.at_least:
            asker.modes = dict(request.wants)
            return obstacles(picture, asker, Status.BUSY)
    elif not picture.grantable(asker):
        return _refuse_or_queue(picture, asker, request)
    picture.grant(asker, asker.lease)
    return granted(picture, asker)


def _ask_again(picture: Picture, known: Entry) -> Reply:
    missed = known.state == "silent"
    if missed:
        known.state = "waiting"
        if picture.grantable(known):
            picture.grant(known, known.lease)
            return granted(picture, known)
    if known.state == "waiting":
        known.ends = picture.now + known.patience
        picture.changed[known.id] = known
        reply = obstacles(picture, known, Status.WAITING)
        soon = min(reply.retry_after, known.provisional / 2, known.lease / 2)
        return replace(reply, missed=True, retry_after=soon) if missed else reply
    if known.unconfirmed:
        known.unconfirmed = False
        picture.extend(known, known.lease)
    return granted(picture, known) if known.alive(picture.now) else Reply(Status.LOST)


def _come_back(picture: Picture, ticket: Entry, asker: Entry) -> Reply:
    """Somebody comes with a ticket that waits, was granted, or missed its grant."""
    if ticket.state == "silent":
        ticket.state = "waiting"
        if picture.grantable(ticket):
            picture.remove(ticket)
            picture.grant(asker, asker.lease)
            return granted(picture, asker)
    if ticket.state == "waiting":
        ticket.ends = picture.now + ticket.patience
        picture.changed[ticket.id] = ticket
        return obstacles(picture, ticket, Status.WAITING)
    return _inherit(picture, ticket, asker)


def _inherit(picture: Picture, entry: Entry, heir: Entry) -> Reply:
    """Put a grant under the id, the owner and the lease of `heir`."""
    picture.remove(entry)
    heir.state, heir.modes, heir.fence, heir.since = "held", entry.modes, entry.fence, entry.since
    heir.max_hold, heir.lock_delay = entry.max_hold, entry.lock_delay
    picture.entries[heir.id] = heir
    picture.extend(heir, heir.lease)
    return granted(picture, heir)


def _refuse_or_queue(picture: Picture, asker: Entry, request: Request) -> Reply:
    same = any(
        entry.holds and not entry.unattended and (entry.owner, entry.session) == (asker.owner, asker.session)
        for name in asker.modes
        for entry in picture.on(name)
    )
    if same or not request.wait:
        return obstacles(picture, asker, Status.HELD if same else Status.BUSY)
    asker.id, asker.ends = request.ticket or asker.id, picture.now + asker.patience
    picture.entries[asker.id] = picture.changed[asker.id] = asker
    return obstacles(picture, asker, Status.WAITING)


def release(picture: Picture, request_id: str) -> bool:
    """Forget a request; whether it held a lock that was still good."""
    entry = picture.entries.get(request_id)
    if entry is None:
        return False
    picture.remove(entry)
    picture.pump(entry.modes)
    return entry.alive(picture.now)


def upgrade(picture: Picture, request_id: str, *, wait: bool) -> Reply:
    """Make a holder exclusive, or let it queue for that in front of everybody."""
    entry = picture.holder(request_id)
    if entry is None:
        return Reply(Status.LOST)
    if LockMode.SHARED not in entry.modes.values():
        return granted(picture, entry)
    if entry.state == "upgrading":
        return obstacles(picture, entry, Status.WAITING)
    another = any(other.state == "upgrading" for name in entry.modes for other in picture.on(name))
    entry.state, entry.score, entry.arrival = "upgrading", FRONT, picture.now
    blocked = any(picture.holders_against(entry, name) for name in entry.modes)
    if another or (blocked and not wait):
        return obstacles(picture, entry, Status.CONFLICT if another else Status.BUSY)
    if not blocked:
        picture.grant(entry, entry.lease)
        return granted(picture, entry)
    picture.changed[entry.id] = entry
    return obstacles(picture, entry, Status.WAITING)


def withdraw(picture: Picture, request_id: str) -> Reply:
    """Stop waiting for an upgrade, and keep the shared lock."""
    entry = picture.holder(request_id)
    if entry is None:
        return Reply(Status.LOST)
    if LockMode.SHARED not in entry.modes.values():
        return granted(picture, entry)
    told = obstacles(picture, entry, Status.BUSY)
    if entry.state == "upgrading":
        entry.state = "held"
        picture.changed[entry.id] = entry
        picture.pump(entry.modes)
    return told


def downgrade(picture: Picture, request_id: str) -> Reply:
    """Make a holder shared, and let the sharers in."""
    entry = picture.holder(request_id)
    if entry is None:
        return Reply(Status.LOST)
    if LockMode.EXCLUSIVE in entry.modes.values() and entry.state == "held":
        entry.modes = dict.fromkeys(entry.modes, LockMode.SHARED)
        picture.changed[entry.id] = entry
        picture.admit_sharers(entry.modes)
    return granted(picture, entry)


def change_priority(picture: Picture, request_id: str, priority: int, ageing: float | None) -> bool:
    """Move a waiter to where its arrival and `priority` place it; whether it waits, or has yet to confirm a grant."""
    entry = picture.entries.get(request_id)
    if entry is None or not (entry.state in ("waiting", "silent") or entry.unconfirmed):
        return False
    entry.info = {**entry.info, "priority": priority}
    entry.rank(priority, ageing)
    picture.changed[entry.id] = entry
    if entry.state == "waiting":
        picture.pump(entry.modes)
    return True


def transfer(picture: Picture, request_id: str, successor: Request) -> Reply:
    """Put a grant under the id, the owner and the lease of `successor`."""
    if done := picture.holder(successor.id):
        return granted(picture, done)
    entry = picture.holder(request_id)
    if entry is None or entry.state != "held":
        return Reply(Status.LOST)
    return _inherit(picture, entry, entry_of(successor))


def break_(picture: Picture, name: str) -> Sequence[Holder]:
    """End every grant on a name; who held it."""
    broken = [entry for entry in picture.on(name) if entry.holds]
    told = holders_on(broken, name, picture.now)
    for entry in broken:
        picture.remove(entry)
    picture.pump(names_in(broken))
    return told


def reap(picture: Picture, owner: str) -> int:
    """End every request of a dead owner; how many held a lock. A lock delay begins now."""
    entries = [entry for entry in picture.entries.values() if entry.owner == owner and not entry.unattended]
    held = [entry for entry in entries if entry.alive(picture.now)]
    for entry in entries:
        if entry.alive(picture.now) and entry.lock_delay:
            entry.state, entry.ends = "held", picture.now
            picture.changed[entry.id] = entry
        elif entry.alive(picture.now) or not entry.holds:
            picture.remove(entry)
    picture.pump(names_in(entries))
    return len(held)


def entry_of(request: Request) -> Entry:
    """A newcomer."""
    return Entry(
        id=request.id,
        state="waiting",
        owner=request.owner,
        session=request.session,
        info={**request.info, "priority": request.priority},
        mailbox=request.mailbox,
        lease=request.lease,
        max_hold=request.max_hold,
        lock_delay=request.lock_delay,
        patience=request.patience,
        provisional=request.provisional,
        modes=dict(request.wants),
    )
