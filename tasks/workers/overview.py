"""All workers at one moment, from their reports, their membership, and what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass

from partitioning import GroupView, Member, Standing
from tasks.transport import ListedTask, Queues
from tasks.workers.records import Report, Seen, Stage, Wish
from tasks.workers.register import Register


@dataclass(frozen=True)
class Worker:
    """One worker.

    Args:
        name: its name.
        stage: where it stands.
        wish: what is wanted of it; a worker is on its way there where it differs from its stage.
        last_sign: seconds since it last gave a sign; None when that is not known.
        report: what it said of itself; None when that has expired.
        incarnation: which start of it is a member, or was; None when that is not known.
        running: the tasks that it holds.
    """

    name: str
    stage: Stage
    wish: Wish
    last_sign: float | None
    report: Report | None
    incarnation: str | None
    running: Sequence[ListedTask]


def overview(register: Register, group: GroupView, queues: Queues, *, lease: float) -> list[Worker]:
    """Return every worker that lives, or was lost within a day, or that something is wanted of; sorted by name.

    Args:
        register: what workers say of themselves.
        group: the group of all workers.
        queues: the queues, which know what each worker holds.
        lease: of the membership, in seconds.
    """
    seen = {known.name: known for known in register.read()}
    members = {member.name: member for member in group.everyone}
    nobody = Seen("", None, None, to_drain=False, to_stop=None)
    return [
        _worker(name, seen.get(name, nobody), members.get(name), queues, lease)
        for name in sorted(seen.keys() | members.keys())
    ]


def _worker(name: str, seen: Seen, member: Member | None, queues: Queues, lease: float) -> Worker:
    report = seen.report
    signs = [age for age in (seen.age, lease - member.lease_left if member else None) if age is not None]
    incarnation = member.incarnation if member else report.incarnation if report else None
    stops = incarnation is not None and seen.to_stop == incarnation
    return Worker(
        name=name,
        stage=_stage(report, member),
        wish="stop" if stops else "drain" if seen.to_drain else "",
        last_sign=max(min(signs), 0.0) if signs else None,
        report=report,
        incarnation=incarnation,
        running=queues.held_by(report.consumer) if report and report.consumer else (),
    )


def _stage(report: Report | None, member: Member | None) -> Stage:
    if member is None:
        return Stage.LOST
    if report is None or report.incarnation != member.incarnation:  # the report of this start has not come yet
        return Stage.DRAINING if member.standing is Standing.DRAINING else Stage.RUNNING
    return report.stage
