"""Boundaries, whatever the spacing, the jitter and the lateness: an invariant of the script that claims."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.periodic.lab import Lab


@pytest.mark.usefixtures("lab")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spacing=st.floats(1, 10**7).map(lambda value: round(value, 6)),
    jitter=st.floats(0, 0.5).map(lambda value: round(value, 3)),
    late=st.floats(0, 10**8),
    misfire=st.sampled_from(["skip", "once"]),
)
def test_the_next_tick_is_the_first_boundary_to_come(
    lab: Lab, spacing: float, jitter: float, late: float, misfire: str
) -> None:
    # Given a task whose next tick was due so long ago
    lab.client.flushall()
    lab.declare_only("tidy", spacing=spacing, jitter=jitter, misfire=misfire)
    leader = lab.beat()
    leader.tick()
    lab.make_due("tidy", ago=late + 0.001)
    anchor = int(lab.client.hget("redbeat:tidy", "anchor") or 0)

    # When it is claimed
    before = time.time()
    found = lab.ledger.tick(leader.timekeeper.token, 10, 5, [])
    after = time.time()

    # Then it is claimed at most once, whatever was missed, and is due at the first boundary to come, within its jitter
    assert found is not None
    assert len(found.unsent) <= 1
    assert found.unsent or (misfire == "skip" and late > 59)
    assert found.next_due is not None
    microseconds = round(found.next_due * 1e6) - anchor
    past_boundary = microseconds % round(spacing * 1e6)
    assert past_boundary <= jitter * spacing * 1e6 + 2
    boundary = found.next_due - past_boundary / 1e6
    assert before - 0.001 < boundary <= after + spacing + 0.001
