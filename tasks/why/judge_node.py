"""Judges nodes: who works on one, who waits for it, and what keeps the first of them."""

from tasks.transport import ListedTask
from tasks.why import judge_task, waiting_for_lock
from tasks.why.facts import NodeFacts
from tasks.why.report import Behind, Cause, Subject
from tasks.why.words import short


def judge(facts: NodeFacts, at: float) -> Subject:
    """Say what a node is busy with, or what keeps the first task for it from running."""
    behind, count = _behind(facts)
    if facts.lock.holders:
        state, causes, next_ = "busy", _busy(facts, at), _then(facts)
    elif facts.first:
        first = judge_task.judge(facts.first)
        state, next_ = "waiting", f"task {first.name} {first.next}"
        causes = [_of_task(first, cause) for cause in first.causes]
    else:
        state, next_ = "free", "nothing: no task for it was found"
        causes = [Cause("free", "nobody holds it, and no task waits for it")]
    return Subject(
        "node", facts.node.name, _described(facts), state, (*causes, *_maintenance(facts)), behind, count, next_
    )


def _described(facts: NodeFacts) -> str:
    node = facts.node
    power = f"power {node.power_state or 'unknown'}"
    wanted = f", going {node.target_power_state}" if node.target_power_state else ""
    failed = f", last error: {node.last_error}" if node.last_error else ""
    return f"driver {node.driver}, {power}{wanted}{failed}"


def _busy(facts: NodeFacts, at: float) -> list[Cause]:
    longest = max(facts.lock.holders, key=lambda holder: holder.age)
    details = {"lock": facts.lock.name, "holders": [holder.as_dict() for holder in facts.lock.holders]}
    held = Cause("lock", f"is busy: {waiting_for_lock.held(longest)}", at - longest.age, details=details)
    doing = [_of_task(subject, subject.cause) for subject in map(judge_task.judge, facts.running)]
    return [held, *doing]


def _of_task(subject: Subject, cause: Cause) -> Cause:
    text = f"task {subject.name} ({subject.what.partition(',')[0]}) {cause.text}"
    return Cause(cause.code, text, cause.since, cause.until, {**cause.details, "task": subject.name})


def _maintenance(facts: NodeFacts) -> list[Cause]:
    if not facts.node.maintenance:
        return []
    return [Cause("maintenance", f"is in maintenance: {facts.node.maintenance_reason or 'no reason was given'}")]


def _behind(facts: NodeFacts) -> tuple[tuple[Behind, ...], int]:
    """Those in line for the lock, then those that have not asked for it yet."""
    in_line, count = waiting_for_lock.behind([facts.lock], None) if facts.lock.holders else ((), 0)
    first = [facts.first.task] if facts.first and facts.lock.holders else []
    known = {waiter.task for waiter in facts.lock.waiters} if facts.lock.holders else set()
    queued = [task for task in (*first, *facts.others) if task.id not in known]
    told = (*in_line, *map(_queued, queued[: waiting_for_lock.TOLD]))
    more = () if facts.complete else (Behind("perhaps more: its queue is too long to be looked through"),)
    return (*told, *more), count + len(queued)


def _queued(task: ListedTask) -> Behind:
    return Behind(f"{short(task.name)}, {task.state} in queue {task.queue}, priority {task.priority}", task.id)


def _then(facts: NodeFacts) -> str:
    if facts.lock.waiters:
        first = facts.lock.waiters[0]
        return f"when it is released, {first.purpose or 'the next'} ({first.task or first.owner}) gets it"
    if facts.first:
        return f"when it is released, task {facts.first.task.id} may take it"
    return "it is free then"
