"""``fleetring periodic``, as an operator uses it."""

import json

import pytest
from click.testing import CliRunner, Result

from tasks.cli import fleet
from tasks.cli.errors import WRONG_INPUT
from tests.periodic.lab import Lab

DISPATCH = "beat_schedule.dispatch_initial_syncs"


def call(*arguments: str) -> Result:
    """Run the command line as a user would."""
    return CliRunner().invoke(fleet, ("periodic", *arguments))


def test_the_list_shows_when_each_task_is_due_and_how_it_went(system: Lab) -> None:
    # Given a task that failed
    system.passes(system.beat())
    system.ledger.begin(DISPATCH, "run", None)
    system.ledger.finish(DISPATCH, "run", "ValueError: no database")

    # Then the table and the JSON say so
    rows = {row["name"]: row for row in json.loads(call("list", "--json").output)}
    assert rows[DISPATCH]["spacing"] == 10
    assert rows[DISPATCH]["last_error"] == "ValueError: no database"
    assert rows[DISPATCH]["next_due"] > rows[DISPATCH]["last_run"]
    power = rows["beat_schedule.sync_power_states"]
    assert (power["scope"], power["worker"], power["last_run"]) == ("partitioned", None, None)
    assert f"{len(rows)} periodic tasks" in call("list").output


def test_a_task_is_paused_and_resumed_by_its_short_name(system: Lab) -> None:
    assert call("pause", "dispatch_initial_syncs").output == f"{DISPATCH} is paused\n"
    assert system.record(DISPATCH).paused
    assert call("resume", DISPATCH).output == f"{DISPATCH} is resumed\n"
    assert not system.record(DISPATCH).paused


def test_a_task_is_sent_by_hand(system: Lab) -> None:
    assert f"{DISPATCH} was sent as task " in call("run", "dispatch_initial_syncs").output
    assert system.sent() == [DISPATCH]


@pytest.mark.usefixtures("system")
def test_a_run_in_each_worker_needs_a_worker() -> None:
    result = call("run", "sync_power_states")
    assert result.exit_code == WRONG_INPUT
    assert "no live worker has periodic task beat_schedule.sync_power_states in its schedule" in result.output


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("verb", ["run", "pause", "resume"])
def test_an_unknown_name_is_answered_with_the_known_ones(verb: str) -> None:
    result = call(verb, "tidy")
    assert result.exit_code == WRONG_INPUT
    assert "unknown periodic task 'tidy'; known are: " in result.output
    assert f" {DISPATCH}, " in result.output


@pytest.mark.parametrize("verb", ["list", "run", "pause", "resume"])
def test_every_command_has_an_example(verb: str) -> None:
    assert f"fleetring periodic {verb}" in call(verb, "--help").output
