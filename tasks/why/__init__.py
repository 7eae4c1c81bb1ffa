"""Why something waits: facts are gathered, then judged, then put into words, each in a module of its own."""

import difflib
from collections.abc import Callable, Iterable, Mapping

from tasks import plugins
from tasks.admission import naming_the_broker
from tasks.app import app
from tasks.errors import UnknownName
from tasks.why import judge_node, judge_subcloud, judge_task
from tasks.why.gathering import Gatherer
from tasks.why.report import Behind, Cause, Code, Kind, Report, Subject

__all__ = ["Behind", "Cause", "Code", "Kind", "Report", "Subject", "why"]

#: So many names of a kind are looked through for those that are like an unknown one.
LIKENESSES = 10_000
#: So many of these are told.
NEAR = 3
#: An id may be given by so many of its first characters to be guessed.
SHORTEST_BEGINNING = 4


def why(name: str) -> Report:
    """Say what a task, node or subcloud waits for: ``why("node-7").subjects[0].cause.text``.

    It costs a handful of bounded reads, and changes nothing.

    Args:
        name: the id of a task, or the name or UUID of a node, or the name of a subcloud. Where several things have it,
            the report has each. ``node:node-7`` (or ``task:``, ``subcloud:``) asks for one kind only.

    Raises:
        UnknownName: nothing has this name; the text has names that are like it.
        BrokerUnreachable: the broker does not answer.
        DatabaseUnreachable: the inventory does not answer.
    """
    plugins.problems(app)  # what does not load is told by doctor; its tasks are judged by their messages alone
    app.loader.import_default_modules()
    kind, _, rest = name.partition(":")
    kinds, wanted = ((kind,), rest) if kind in JUDGES and rest else (tuple(JUDGES), name)
    with naming_the_broker(), app.queues() as queues, app.runtime.database.reading() as session:
        gatherer = Gatherer(queues, session)
        subjects = [subject for kind in kinds if (subject := JUDGES[kind](gatherer, wanted))]
        if not subjects:
            raise UnknownName(name, _like(wanted, gatherer.known_names(LIKENESSES)))
        return Report(name, gatherer.now, tuple(subjects))


def _task(gatherer: Gatherer, name: str) -> Subject | None:
    if living := gatherer.living(name):
        return judge_task.judge(living)
    ended = gatherer.ended(name)
    return judge_task.judge_ended(ended) if ended else None


def _node(gatherer: Gatherer, name: str) -> Subject | None:
    facts = gatherer.node(name)
    return judge_node.judge(facts, gatherer.now) if facts else None


def _subcloud(gatherer: Gatherer, name: str) -> Subject | None:
    facts = gatherer.subcloud(name)
    return judge_subcloud.judge(facts) if facts else None


JUDGES: Mapping[str, Callable[[Gatherer, str], Subject | None]] = {
    "node": _node,
    "subcloud": _subcloud,
    "task": _task,
}


def _like(name: str, known: Iterable[str]) -> list[str]:
    """Names that begin as this one does, then those that are spelt like it."""
    names = list(known)
    beginning = [one for one in names if len(name) >= SHORTEST_BEGINNING and one.startswith(name)]
    near = difflib.get_close_matches(name, names, n=NEAR)
    return list(dict.fromkeys([*beginning, *near]))[:NEAR]
