import time
from pathlib import Path

import pytest

from tests.periodic.soak import Soak
from tests.processes import free_port

pytestmark = pytest.mark.system


def test_a_clock_that_steps_by_an_hour_on_one_host_changes_nothing(tmp_path: Path) -> None:
    # Given three beats and a worker
    with Soak(tmp_path, free_port()) as soak:
        soak.settle()

        # When the clock of the host that has the leader and the worker steps forth and back
        for step in (3600, -3600, 0):
            soak.step_clocks(step)
            soak.wait_for_a_run(due_after=time.time() + 3)

        # And the leader dies while its clock is wrong
        soak.step_clocks(3600)
        soak.kill_the_leader()
        soak.wait_for_a_run(due_after=time.time() + 2)

        # Then every tick ran once, but for those between the leader's death and its successor
        found = soak.findings(spacing=1.0)
    assert (found.exited, found.twice, found.missed_outside) == (0, 0, 0)
    assert found.mean_spacing == pytest.approx(1, rel=0.02)


def test_no_death_of_a_leader_and_no_outage_stops_or_doubles_a_tick(tmp_path: Path) -> None:
    # Given three beats and a worker, with a task every second and one that raises SystemExit
    with Soak(tmp_path, free_port()) as soak:
        soak.settle()
        time.sleep(3)

        # When the leader is killed, and the broker is away for five seconds
        soak.kill_the_leader()
        time.sleep(3)
        soak.stop_the_broker(5)
        time.sleep(4)

        # Then every tick ran at most once, none is missing but those inside, and no process has ended
        found = soak.findings(spacing=1.0)
    assert found.exited == 0
    assert found.twice == 0
    assert found.missed_outside == 0
    assert found.longest_gap < 12
    assert found.mean_spacing == pytest.approx(1, rel=0.01)
    assert found.ticks >= 12
