import json
from pathlib import Path
from typing import Any

import pytest

from tasks.node_actions import set_power_state
from tests.processes import wait_until


@pytest.mark.system
def test_a_worker_runs_the_most_urgent_first_and_equals_in_the_order_of_their_arrival(fleet: Any) -> None:
    # Given actions of several priorities that wait for a worker
    journal = fleet.folder / "journal"
    sent = [("a", 0), ("b", 19), ("c", 0), ("d", -20), ("e", 10), ("f", -10), ("g", -25), ("h", 0)]
    for name, priority in sent:
        fleet.add_node(name, journal=str(journal))
        set_power_state.apply_async([name, "on"], priority=priority)

    # When a worker with one slot works on them
    with fleet.worker("--concurrency", "1"):
        wait_until(lambda: len(_begins(journal)) == len(sent))

    # Then it began the most urgent first
    assert _begins(journal) == ["g", "d", "f", "a", "c", "h", "e", "b"]


def _begins(journal: Path) -> list[str]:
    lines = map(json.loads, journal.read_text().splitlines()) if journal.exists() else ()
    asked = [line for line in lines if line["operation"] == "request_power_state" and line["event"] == "begin"]
    return [line["node"] for line in asked]
