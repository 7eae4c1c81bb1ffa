"""Puts a report into lines that a person reads from the top down."""

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.text import Text

from tasks.why.report import Report, Subject
from tasks.why.words import span

#: How the states of a subject are coloured; others are yellow: they wait.
COLOURS = {"running": "green", "busy": "green", "success": "green", "completed": "green", "free": "green"}
COLOURS |= {"failure": "red", "dead": "red", "failed": "red"}


def lines(report: Report) -> Iterator[Text]:
    """Draw each subject: what it is, why, who waits behind it, what comes next."""
    for subject in report.subjects:
        yield from _subject(subject, report.at)


def _subject(subject: Subject, at: float) -> Iterator[Text]:
    colour = COLOURS.get(subject.state, "yellow")
    yield Text.assemble((f"{subject.kind} {subject.name}", "bold"), "  ", (subject.state, colour), f"  {subject.what}")
    for heading, cause in zip(_headings(), subject.causes, strict=False):
        until = f" (until {_moment(cause.until)})" if cause.until else ""
        yield Text.assemble((f"  {heading:8}", "bold"), f"{cause.text}{until}")
    for number, behind in enumerate(subject.behind):
        task = f"  {behind.task}" if behind.task and behind.task not in behind.text else ""
        yield Text.assemble((f"  {'behind' if number == 0 else '':8}", "bold"), f"{behind.text}{task}")
    if subject.behind_count > len(subject.behind):
        yield Text(f"          {subject.behind_count} in all")
    when = f", in {span(subject.next_at - at)}, at {_moment(subject.next_at)}" if subject.next_at else ""
    yield Text.assemble(("  next    ", "bold"), f"{subject.next}{when}")


def _headings() -> Iterator[str]:
    yield "why"
    while True:
        yield "and"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")
