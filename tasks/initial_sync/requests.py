"""What requests initial syncs and calls them off, and the dispatch of what is due."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session

from tasks import pool
from tasks.app import SYNCHRONISE, app
from tasks.inventory import SyncTicket, sync_requests, sync_rows
from tasks.priority import Priority

logger = get_task_logger(__name__)

#: How many due subclouds one dispatch hands out.
DISPATCH_LIMIT = 5000
#: After so many seconds dispatch looks whether the message of an unclaimed subcloud still waits, or was lost.
DISPATCH_AGAIN = 60.0
#: Messages in one step of the broker, which does nothing else meanwhile.
SENT_AT_ONCE = 5000

Names = Iterable[str] | None


def update_state(name: str, *, managed: bool | None = None, online: bool | None = None) -> bool:
    """Record whether a subcloud is managed and online, and send its initial sync at once where that requests one.

    Args:
        name: the subcloud.
        managed: whether it is managed. Defaults to what it is.
        online: whether it is online. Defaults to what it is.

    Returns:
        Whether an initial sync was requested.

    Raises:
        UnknownSubcloud: it is not in the inventory.
    """
    return bool(update_states([name], managed=managed, online=online))


def update_states(names: Names, *, managed: bool | None = None, online: bool | None = None) -> list[SyncTicket]:
    """Record whether subclouds are managed and online, thousands in one statement, and send the syncs that follow.

    Args:
        names: the subclouds; None is all of them.
        managed: whether they are managed. Defaults to what each is.
        online: whether they are online. Defaults to what each is.

    Returns:
        The initial syncs that were requested. What does not change requests nothing.

    Raises:
        UnknownSubcloud: some are not in the inventory; then nothing is changed.
    """
    return _changed_and_sent(
        lambda session: sync_requests.update_states(
            session, names, managed=managed, online=online, again_after=DISPATCH_AGAIN
        )
    )


def request(names: Names) -> list[SyncTicket]:
    """Send whole syncs of those that are managed, online and not being synchronised, and return them.

    Args:
        names: the subclouds; None is all of them.

    Raises:
        UnknownSubcloud: some are not in the inventory; then nothing is changed.
    """
    return _changed_and_sent(lambda session: sync_requests.request(session, names, again_after=DISPATCH_AGAIN))


def retry(names: Names) -> list[SyncTicket]:
    """Send the syncs that failed again, parked ones too, from the step that failed, and return them.

    Args:
        names: the subclouds; None is all of them.

    Raises:
        UnknownSubcloud: some are not in the inventory; then nothing is changed.
    """
    return _changed_and_sent(lambda session: sync_requests.retry(session, names, again_after=DISPATCH_AGAIN))


def cancel(names: Names) -> list[SyncTicket]:
    """Call off the syncs that are requested, in progress or failed, and return what was called off.

    Args:
        names: the subclouds; None is all of them.

    Raises:
        UnknownSubcloud: some are not in the inventory; then nothing is changed.
    """
    with app.runtime.database.session() as session:
        return sync_requests.cancel(session, names)


def sweep() -> int:
    """Request all syncs in progress and all failed ones anew, as the original does when an engine starts."""
    with app.runtime.database.session() as session:
        return sync_requests.sweep(session)


def dispatch() -> int:
    """Send every initial sync that is due and whose message does not wait already, and return how many were sent.

    These are lost messages, ended hold-offs, and subclouds whose worker died.
    """
    settings = app.settings
    with app.runtime.database.session() as session:
        abandoned = sync_rows.requeue_abandoned(session, max_attempts=settings.sync_max_attempts)
        due = sync_rows.take_due(
            session, limit=DISPATCH_LIMIT, again_after=DISPATCH_AGAIN, retries=settings.sync_retries
        )
    if abandoned:
        logger.warning("%d initial syncs lost their worker and are taken over", abandoned)
    lost = _without_message(due)
    _send(lost)
    return len(lost)


def _changed_and_sent(change: Callable[[Session], list[SyncTicket]]) -> list[SyncTicket]:
    with app.runtime.database.session() as session:
        tickets = change(session)
    _send(tickets)
    return tickets


def _send(tickets: Sequence[SyncTicket]) -> None:
    for at in range(0, len(tickets), SENT_AT_ONCE):
        batch = tickets[at : at + SENT_AT_ONCE]
        signatures = [app.signature(SYNCHRONISE, args=(ticket.name, ticket.generation)) for ticket in batch]
        pool.add_many(
            signatures, [int(_priority(ticket)) for ticket in batch], [_message_id(ticket) for ticket in batch]
        )


def _priority(ticket: SyncTicket) -> Priority:
    """Retries go behind fresh requests, so that dead subclouds never delay new ones; what had begun goes ahead."""
    if ticket.retry:
        return Priority.LOW
    return Priority.HIGH if ticket.taken_over else Priority.NORMAL


def _message_id(ticket: SyncTicket) -> str:
    """One for each attempt, so that dispatch can see whether the message of an attempt still waits."""
    return f"sync.{ticket.name}.{ticket.generation}.{ticket.attempts}"


def _without_message(tickets: Iterable[SyncTicket]) -> list[SyncTicket]:
    by_queue: dict[str, dict[str, SyncTicket]] = defaultdict(dict)
    for ticket in tickets:
        route = app.amqp.router.route({}, SYNCHRONISE, args=(ticket.name, ticket.generation), kwargs={})
        by_queue[route["queue"].name][_message_id(ticket)] = ticket
    with app.queues() as queues:
        waiting = {one for queue, tickets_of in by_queue.items() for one in queues.living(queue, list(tickets_of))}
    return [ticket for those in by_queue.values() for one, ticket in those.items() if one not in waiting]
