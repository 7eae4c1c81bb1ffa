"""Reads what the bodies of actions have written down, and judges it."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path


@dataclass
class Run:
    """What one body wrote on one node: the numbers of its first and last line."""

    name: str
    fence: int
    first: int
    last: int
    ended: bool = False


@dataclass
class Verdict:
    """What the witness tells.

    Attributes:
        done: names of runs that ended.
        overlaps: pairs of runs that were on one node at once.
        stale: runs under a fence that is not larger than that of an earlier run on the node.
        order: by node, names of runs in the order in which they began.
    """

    done: set[str] = field(default_factory=set)
    overlaps: list[tuple[str, str, str]] = field(default_factory=list)
    stale: list[tuple[str, str]] = field(default_factory=list)
    order: dict[str, list[str]] = field(default_factory=dict)
    cut_short: int = 0


def judge(file: Path) -> Verdict:
    """Judge a file of lines ``event run pid fence time node``; a line's place tells when it was written."""
    runs: dict[str, dict[tuple[str, str], Run]] = defaultdict(dict)
    for number, line in enumerate(file.read_text().splitlines()):
        event, name, pid, fence, _, node = line.split(" ")
        run = runs[node].setdefault((name, pid), Run(name, int(fence), number, number))
        if event == "begin" and run.ended:  # the same process runs the same task again
            runs[node][name, f"{pid}/{run.first}"] = run
            runs[node][name, pid] = run = Run(name, int(fence), number, number)
        run.last, run.ended = number, event == "end"
    verdict = Verdict()
    for node, all_ in runs.items():
        ordered = sorted(all_.values(), key=lambda run: run.first)
        verdict.order[node] = [run.name for run in ordered]
        verdict.done |= {run.name for run in ordered if run.ended}
        verdict.cut_short += sum(not run.ended for run in ordered)
        for earlier, later in pairwise(ordered):
            if later.first < earlier.last:
                verdict.overlaps.append((node, earlier.name, later.name))
            if later.fence <= earlier.fence:
                verdict.stale.append((node, later.name))
    return verdict
