"""Judges tasks: living ones by where they are, ended ones by what is kept of them."""

from typing import Any

from tasks.why import waiting_for_lock, waiting_in_queue
from tasks.why.facts import EndedFacts, TaskFacts
from tasks.why.report import Behind, Cause, Subject
from tasks.why.words import number, short, span


def judge(facts: TaskFacts) -> Subject:
    """Say why a living task is where it is."""
    verdict = {"running": _running, "ready": _ready, "delayed": _delayed, "parked": _parked}[facts.task.state]
    causes = (*verdict(facts), *waiting_in_queue.quiesced(facts.queue))
    behind, count = _behind(facts)
    next_, next_at = _next(facts, causes[0])
    return Subject("task", facts.task.id, described(facts), facts.task.state, causes, behind, count, next_, next_at)


def described(facts: TaskFacts) -> str:
    """What a task is: its name, its nodes, its queue, its priority and its age."""
    task, on = facts.task, ", ".join(lock.name.partition(":")[2] for lock in facts.locks)
    age = span(facts.queue.look.at - task.arrival)
    return f"{short(task.name)}{f' on {on}' if on else ''}, queue {task.queue}, priority {task.priority}, {age} old"


def _running(facts: TaskFacts) -> list[Cause]:
    look, name = facts.queue.look, facts.task.worker or ""
    own = [holder for lock in facts.locks for holder in lock.holders if holder.task == facts.task.id]
    waits = any(waiter.task == facts.task.id for lock in facts.locks for waiter in lock.waiters)
    in_slot = waiting_for_lock.causes(facts.locks, facts.task.id, facts.mode, look.at) if waits else []
    lives = any(held.lease_left >= 0 for held in look.consumers if held.consumer.rpartition(".")[0] == name)
    if not lives:
        text = f"its worker {name or '(unknown)'} gives no sign of life; others take the task over"
        return [Cause("worker-lost", text, details={"worker": name}), *in_slot]
    told = _progress(facts)
    since = look.at - max(holder.age for holder in own) if own else None
    lasting = f" for {span(look.at - since)}" if since else ""
    asked = "; it was asked to end" if look.cancelled else ""
    details: dict[str, Any] = {"worker": name, "cancelled": look.cancelled, "redeliveries": facts.task.redeliveries}
    return [*in_slot, Cause("running", f"runs on {name}{lasting}{told}{asked}", since, details=details)]


def _progress(facts: TaskFacts) -> str:
    if facts.told.get("status") != "PROGRESS":
        return ""
    said = facts.told["result"]
    return f", at {said['done']:g} of {said['total']:g}: {said['message']}"


def _ready(facts: TaskFacts) -> list[Cause]:
    """In its queue; a lock that is held now would be what it waits for next."""
    return [*waiting_in_queue.causes(facts.queue, facts.task.priority), *_locks(facts)]


def _delayed(facts: TaskFacts) -> list[Cause]:
    look, due = facts.queue.look, facts.task.due or 0.0
    away = Cause("not-due", f"is not due before {span(due - look.at)} from now", until=due, details={"due": due})
    locks = _locks(facts)
    stopped = [cause for cause in waiting_in_queue.causes(facts.queue, facts.task.priority) if cause.code != "starting"]
    gave_way = facts.told.get("status") == "RETRY" and bool(locks)
    return [*locks, away, *stopped] if gave_way else [away, *stopped, *locks]


def _parked(facts: TaskFacts) -> list[Cause]:
    locks = _locks(facts)
    queue = waiting_in_queue.causes(facts.queue, facts.task.priority)
    if facts.queue.look.behind:
        node, first = facts.queue.look.behind
        text = f"task {first} came first for {node}, was claimed, and has yet to ask for the lock"
        return [Cause("turn", text, details={"node": node, "task": first}), *locks]
    if locks:
        return [*locks, *(cause for cause in queue if cause.code != "starting")]
    return [Cause("starting", "its lock was granted to it, and it returns to its queue"), *queue]


def _locks(facts: TaskFacts) -> list[Cause]:
    return waiting_for_lock.causes(facts.locks, facts.task.id, facts.mode, facts.queue.look.at)


def _behind(facts: TaskFacts) -> tuple[tuple[Behind, ...], int]:
    look = facts.queue.look
    behind, count = waiting_for_lock.behind(facts.locks, facts.task.id)
    if look.ahead is None or not (after := look.ready - look.ahead - 1):
        return behind, count
    return (*behind, Behind(f"{number(after, 'task')} of queue {look.queue}")), count + after


def _next(facts: TaskFacts, cause: Cause) -> tuple[str, float | None]:
    if cause.code == "running":
        limit = None if cause.since is None else cause.since + facts.time_limit
        return f"ends by itself and frees its slot and locks, or by its time limit of {span(facts.time_limit)}", limit
    if cause.code == "worker-lost":
        return "returns to its queue, with its arrival kept, when the lease of its worker has ended", None
    if cause.code == "lock":
        return waiting_for_lock.next_in_line(facts.locks, facts.task.id), None
    if cause.code == "turn":
        return f"returns to its queue when task {cause.details['task']} has asked for the lock, or has ended", None
    if cause.code == "not-due":
        return "goes into its queue", cause.until
    return waiting_in_queue.next_step(cause, facts.task.queue), None


def judge_ended(facts: EndedFacts) -> Subject:
    """Say how a task ended."""
    if facts.letter:
        return _dead_letter(facts)
    told = facts.told
    status, name = str(told["status"]), short(str(told.get("name") or "a task"))
    cause = Cause(*_ENDS.get(status, ("failed", "no queue has it any more, and it told no end; its last word was {0}")))
    text = cause.text.format(status if status not in _ENDS else _outcome(told.get("result")))
    where = f" on {told['worker']}" if told.get("worker") else ""
    details = {"status": status, "ended": told.get("date_done"), "worker": told.get("worker")}
    cause = Cause(cause.code, f"{text}{where}", details=details)
    return Subject("task", facts.id, name, status.lower(), (cause,), next="nothing: send it again if it is needed")


#: Celery's last words, and what they mean.
_ENDS: dict[str, Any] = {
    "SUCCESS": ("finished", "has succeeded: {0}"),
    "FAILURE": ("failed", "has failed: {0}"),
    "REVOKED": ("cancelled", "was cancelled: {0}"),
}


def _outcome(result: object) -> str:
    told = f"{type(result).__name__}: {result}" if isinstance(result, BaseException) else repr(result)
    return told if len(told) <= 300 else f"{told[:297]}..."


def _dead_letter(facts: EndedFacts) -> Subject:
    letter = facts.letter
    assert letter is not None  # noqa: S101 - the caller has looked
    details = {"queue": letter.queue, "reason": letter.reason, "worker": letter.worker}
    cause = Cause(
        "dead-letter", f"is a dead letter: {letter.reason} (lastly at {letter.worker})", letter.at, details=details
    )
    next_ = f"nothing by itself: fleetring queues retry-dead {letter.id}, or drop-dead"
    return Subject("task", letter.id, f"{short(letter.name)}, queue {letter.queue}", "dead", (cause,), next=next_)
