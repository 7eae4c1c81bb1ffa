"""Judges subclouds: their row is the truth, and its message, queue and lock say what the row waits for."""

from typing import Any

from tasks.inventory import SyncState
from tasks.why import judge_task, waiting_for_lock, waiting_in_queue
from tasks.why.facts import SubcloudFacts
from tasks.why.report import Cause, Subject
from tasks.why.words import number, span


def judge(facts: SubcloudFacts) -> Subject:
    """Say where the initial sync of a subcloud stands, and why."""
    verdict = {
        SyncState.NONE: _not_requested,
        SyncState.REQUESTED: _requested,
        SyncState.IN_PROGRESS: _in_progress,
        SyncState.COMPLETED: _completed,
        SyncState.FAILED: _failed,
    }[facts.subcloud.state]
    causes, next_, next_at = verdict(facts)
    behind, count = waiting_for_lock.behind([facts.lock], None)
    row = facts.subcloud
    what = f"driver {row.driver}, {'' if row.managed else 'not '}managed, {'online' if row.online else 'offline'}"
    what += (
        f", queue {facts.queue.look.queue}, attempt {row.attempts}"
        if row.attempts
        else f", queue {facts.queue.look.queue}"
    )
    return Subject("subcloud", row.name, what, row.state.value, tuple(causes), behind, count, next_, next_at)


Verdict = tuple[list[Cause], str, float | None]


def _not_requested(facts: SubcloudFacts) -> Verdict:
    row = facts.subcloud
    missing = [word for word, there in (("managed", row.managed), ("online", row.online)) if not there]
    text = (
        f"no initial sync is wanted: it is not {' and not '.join(missing) or 'both managed and online since a change'}"
    )
    return (
        [Cause("not-requested", text)],
        f"fleetring subclouds update {row.name} --managed --online requests one",
        None,
    )


def _requested(facts: SubcloudFacts) -> Verdict:
    row = facts.subcloud
    if row.last_error and row.next_attempt_at and row.next_attempt_at > facts.now and facts.message is None:
        text = f"is put off for {span(row.next_attempt_at - facts.now)} more: {row.last_error}"
        put_off = Cause("hold-off", text, until=row.next_attempt_at, details=_failure(facts))
        return [put_off], "is tried again", row.next_attempt_at
    if facts.message is not None:
        subject = judge_task.judge(facts.message)
        return list(subject.causes), subject.next, subject.next_at
    blocked = [cause for cause in waiting_in_queue.causes(facts.queue, 0) if cause.code != "starting"]
    again = facts.subcloud.next_attempt_at
    away = Cause(
        "starting", "no message for it was found in its queue; the dispatch sends one when it is due", until=again
    )
    return [*blocked, away], "the dispatch of initial syncs sends it, every 10 s, when it is due", again


def _in_progress(facts: SubcloudFacts) -> Verdict:
    row, left = facts.subcloud, (facts.subcloud.lease_until or 0.0) - facts.now
    worker = (row.claimed_by or "somebody").partition(":")[0]
    details = {"claimed_by": row.claimed_by, "step": row.step, "lease_left": left, "attempts": row.attempts}
    if left < 0:
        text = f"its worker {worker} gave no sign for longer than its lease, at step {row.step}"
        return (
            [Cause("worker-lost", text, details=details)],
            "the dispatch gives it to another worker, every 10 s",
            None,
        )
    ages = [holder.age for holder in facts.lock.holders]
    since = facts.now - max(ages) if ages else None
    lasting = f" for {span(facts.now - since)}" if since else ""
    cause = Cause("running", f"is synchronised by {worker}{lasting}, {_at_step(facts)[1:]}", since, details=details)
    return [cause], f"is completed or failed; taken over if its worker gives no sign for {span(left)}", None


def _completed(facts: SubcloudFacts) -> Verdict:
    at = facts.subcloud.last_synced_at
    ago = f" {span(facts.now - at)} ago" if at else ""
    return [Cause("finished", f"was synchronised{ago}", at)], "nothing, until it is unmanaged or offline", None


def _failed(facts: SubcloudFacts) -> Verdict:
    row, due = facts.subcloud, facts.subcloud.next_attempt_at or facts.now
    error = f"after {number(row.attempts, 'failed attempt')}{_at_step(facts)}: {row.last_error}"
    if row.parked_at is not None:
        parked = f"is parked for {span(facts.now - row.parked_at)} {error}"
        return [Cause("failed", parked, row.parked_at, details=_failure(facts))], _unparked(row.name), None
    if due > facts.now:
        text = f"is held off for {span(due - facts.now)} more {error}"
        return [Cause("hold-off", text, until=due, details=_failure(facts))], f"is tried again{_at_step(facts)}", due
    failed = Cause("failed", f"is due again {error}", details=_failure(facts))
    found, next_, next_at = _requested(facts)
    return [failed, *found], next_, next_at


def _unparked(name: str) -> str:
    return f"nothing by itself: fleetring subclouds retry {name}, once the fault is mended"


def _at_step(facts: SubcloudFacts) -> str:
    return f" at step {facts.subcloud.step}" if facts.subcloud.step else " before the first step"


def _failure(facts: SubcloudFacts) -> dict[str, Any]:
    row = facts.subcloud
    return {"error": row.last_error, "failure": row.failure, "attempts": row.attempts, "step": row.step}
