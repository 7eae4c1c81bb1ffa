import socket
import time
from pathlib import Path

import pytest

from tests.periodic.soak import Soak


@pytest.mark.system
def test_no_death_of_a_leader_and_no_outage_stops_or_doubles_a_tick(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    # Given three beats and a worker, with a task every second and one that raises SystemExit
    with Soak(tmp_path, port) as soak:
        soak.wait_for_a_run(patience=60)
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
