"""Judges a queue: what keeps a task that is ready to start from starting."""

from collections.abc import Sequence
from typing import Any

from tasks.priority import Priority
from tasks.transport import kept_for_urgent
from tasks.why.facts import QueueFacts, WorkerFacts
from tasks.why.report import Cause
from tasks.why.words import counted, listed, number, short, span

#: Stages in which a worker takes nothing because an operator wants it so, or because it ends.
RESTING = ("draining", "drained", "stopping")


def causes(facts: QueueFacts, priority: int) -> list[Cause]:
    """Return what stands between the queue's head and a slot, the most decisive first; then the tasks ahead."""
    found = [*_paused(facts), *_limited(facts), *_workers(facts, priority), *_order(facts)]
    return found or [Cause("starting", f"queue {facts.look.queue} hands it out at the next claim of a worker")]


def _paused(facts: QueueFacts) -> list[Cause]:
    look = facts.look
    if not look.pauses:
        return []
    told = listed(f"{reason!r} for {span(look.at - since)}" for reason, since in sorted(look.pauses.items()))
    details = {"queue": look.queue, "reasons": dict(look.pauses)}
    return [Cause("paused", f"queue {look.queue} is paused: {told}", min(look.pauses.values()), details=details)]


def _limited(facts: QueueFacts) -> list[Cause]:
    look = facts.look
    if look.slots is None or look.running < look.slots:
        return []
    details: dict[str, Any] = {"queue": look.queue, "slots": look.slots, "running": look.running}
    if look.slots == 0:
        return [Cause("limit", f"queue {look.queue} has 0 slots: nothing of it starts", details=details)]
    busy = _busy_with([task.name for held in look.consumers for task in held.tasks if task.queue == look.queue])
    text = f"queue {look.queue} may run {number(look.slots, 'task')} at once, and {look.running} run{busy}"
    return [Cause("limit", text, details=details)]


def _kept(facts: QueueFacts, worker: WorkerFacts, priority: int) -> int:
    return kept_for_urgent(facts.reserved_slots, worker.slots) if priority > Priority.URGENT else 0


def _workers(facts: QueueFacts, priority: int) -> list[Cause]:
    mine = [worker for worker in facts.workers if worker.consumes]
    at_work = [worker for worker in mine if worker.stage == "running"]
    if not at_work:
        return [_nobody(facts, mine)]
    usable = [worker.free - _kept(facts, worker, priority) for worker in at_work]
    if max(usable) > 0:
        return []
    free = sum(worker.free for worker in at_work)
    slots = sum(worker.slots for worker in at_work)
    tasks = [task for worker in at_work for task in worker.tasks]
    details = {"slots": slots, "free": free, "workers": [_shown(worker) for worker in at_work]}
    kept = f"; the free {number(free, 'slot')} are kept for urgent tasks" if free else ""
    busy = _busy_with([task.name for task in tasks])
    names = listed(worker.name for worker in at_work)
    return [
        Cause(
            "slots-busy", f"{slots - free} of {number(slots, 'slot')} of {names} are busy{busy}{kept}", details=details
        )
    ]


def _nobody(facts: QueueFacts, mine: Sequence[WorkerFacts]) -> Cause:
    queue = facts.look.queue
    details = {"queue": queue, "workers": [_shown(worker) for worker in facts.workers]}
    resting = [worker for worker in mine if worker.stage in RESTING]
    if resting:
        told = listed(f"{worker.name} is {worker.stage}" for worker in resting)
        return Cause("drained", f"no worker of queue {queue} takes tasks: {told}", details=details)
    lost = [f"{worker.name} was last heard of {span(worker.silent)} ago" for worker in mine]
    others = [worker.name for worker in facts.workers if not worker.consumes]
    told = listed(lost) or (f"there are {listed(others)}, for other queues" if others else "none runs")
    return Cause("no-worker", f"no worker consumes queue {queue}: {told}", details=details)


def _order(facts: QueueFacts) -> list[Cause]:
    ahead = facts.look.ahead
    if not ahead:
        return []
    return [
        Cause("order", f"{number(ahead, 'task')} of queue {facts.look.queue} start before it", details={"ahead": ahead})
    ]


def next_step(cause: Cause, queue: str) -> str:
    """What has to happen for a task of the queue to start."""
    reasons = cause.details.get("reasons", {})
    return {
        "paused": "starts once each reason is taken back: "
        + ", ".join(f"fleetring queues resume {queue} --reason {reason!r}" for reason in sorted(reasons)),
        "limit": f"starts when fewer run, or after fleetring queues resize {queue} N",
        "no-worker": f"starts as soon as a worker consumes {queue}: celery -A tasks worker, or with -Q {queue}",
        "drained": "starts when one of them works again (fleetring workers resume NAME), or another worker comes",
        "slots-busy": "starts when a slot is free and nothing more urgent waits",
        "order": "starts after those before it",
    }.get(cause.code, "starts within moments")


def quiesced(facts: QueueFacts) -> list[Cause]:
    """Tell that the queue takes no new tasks; those that are in it go on."""
    look = facts.look
    if not look.gate:
        return []
    refused = "wait to be added" if look.gate == "block" else "are refused"
    text = f"queue {look.queue} is being quiesced: new tasks {refused}, those in it go on"
    return [Cause("quiesced", text, until=look.at + look.gate_left, details={"queue": look.queue, "mode": look.gate})]


def _busy_with(names: Sequence[str]) -> str:
    return f": {counted([short(name) for name in names])}" if names else ""


def _shown(worker: WorkerFacts) -> dict[str, Any]:
    return {
        "name": worker.name,
        "stage": worker.stage,
        "consumes": worker.consumes,
        "slots": worker.slots,
        "held": worker.held,
        "tasks": [{"id": task.id, "name": task.name, "queue": task.queue} for task in worker.tasks],
    }
