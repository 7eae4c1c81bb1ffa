"""The power sync against real rows, locks and fake machines; and what each look means, as a table."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import event, update

from tasks import app, power_sync, settings
from tasks.cli import fleet as command_line
from tasks.drivers import PowerState, node_drivers
from tasks.inventory import Node
from tasks.inventory.power_rows import KnownPower
from tasks.power_sync.sync import Stream
from tasks.power_sync.verdict import Sighting, changes_after
from tests.processes import wait_until

NOW = 1_000_000.0


def known(**columns: Any) -> KnownPower:
    usual = {"power_state": "on", "power_failures": 0, "power_changes": 0, "power_changes_since": None, "version": 1}
    return KnownPower(id=1, name="node-1", driver="fake", driver_info={}, **{**usual, **columns})


@pytest.mark.parametrize(
    ("row", "seen", "changes"),
    [
        ({}, PowerState.ON, {}),
        ({}, PowerState.OFF, {"power_state": "off", "power_changes": 1, "power_changes_since": NOW}),
        ({}, PowerState.POWERING_OFF, {}),
        ({}, PowerState.UNKNOWN, {"power_state": "unknown"}),
        ({"power_state": "unknown"}, PowerState.OFF, {"power_state": "off"}),
        ({"power_state": None}, PowerState.ON, {"power_state": "on"}),
        ({"power_failures": 2}, PowerState.ON, {"power_failures": 0, "last_error": None}),
        ({}, None, {"power_failures": 1, "last_error": "power sync: no route"}),
        (
            {"power_changes": 2, "power_changes_since": NOW - 599},
            PowerState.OFF,
            {"power_state": "off", "power_changes": 3, "power_changes_since": NOW - 599},
        ),
        (
            {"power_changes": 4, "power_changes_since": NOW - 601},
            PowerState.OFF,
            {"power_state": "off", "power_changes": 1, "power_changes_since": NOW},
        ),
    ],
)
def test_each_look_means_what_the_table_says(
    row: dict[str, Any], seen: PowerState | None, changes: dict[str, Any]
) -> None:
    assert changes_after(known(**row), Sighting(seen, "no route"), NOW, settings.Settings()) == changes


def sync(*names: str, within: float = 30.0) -> Any:
    return power_sync.sync(names, within=within)


def test_what_was_never_known_is_recorded(fleet: Any) -> None:
    fleet.add_node("node-1")
    assert sync("node-1")["changed"] == 1
    node = fleet.node("node-1")
    assert (node.power_state, node.power_changes, node.alarm) == ("off", 0, None)


def test_nodes_in_maintenance_in_transition_and_locked_ones_are_not_even_asked(
    fleet: Any, hold: Callable[..., Any], tmp_path: Any
) -> None:
    # Given a node in maintenance, one in a transition, and one that somebody flashes
    journal = tmp_path / "journal"
    for name in ("resting", "moving", "flashing", "free"):
        fleet.add_node(name, journal=str(journal))
    write("resting", maintenance=True)
    write("moving", target_power_state="on")

    # When the power is compared
    with hold("flashing", purpose="flash"):
        counts = sync("resting", "moving", "flashing", "free")

    # Then only the free node's machine was asked
    assert journal.read_text().count('"event": "begin"') == 1
    assert (counts["busy"], counts["looked"], counts["changed"]) == (3, 1, 1)
    assert fleet.node("free").power_state == "off"


def write(name: str, **columns: Any) -> None:
    with app.runtime.database.session() as session:
        session.execute(update(Node).where(Node.name == name).values(**columns))


def test_a_node_that_does_not_answer_goes_into_maintenance_and_comes_back_when_it_is_restored(fleet: Any) -> None:
    # Given a machine that nobody can reach
    fleet.add_node("node-1", unreachable=True)
    write("node-1", power_state="on")

    # When it gave no answer twice, then it is still looked at
    sync("node-1")
    sync("node-1")
    assert (fleet.node("node-1").power_failures, fleet.node("node-1").maintenance) == (2, False)
    assert fleet.node("node-1").last_error.startswith("power sync: node-1 (fake): is set to be unreachable")

    # When it gives none a third time, then it is in maintenance, with the reason, and left alone
    assert sync("node-1")["given up"] == 1
    node = fleet.node("node-1")
    assert node.maintenance
    assert node.maintenance_reason.startswith("power sync: no answer 3 times in a row, the last time: node-1 (fake)")
    assert node.power_state is None
    assert sync("node-1")["looked"] == 0
    assert power_sync.nodes_in_service() == []
    assert "no answer 3 times" in run("list", "--json")

    # When an operator restores it, then it is looked at again
    assert run("restore", "node-1") == "node-1: in service\n"
    assert (fleet.node("node-1").power_failures, fleet.node("node-1").maintenance_reason) == (0, None)
    assert sync("node-1")["looked"] == 1


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command_line, ("nodes", *arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_node_that_answers_again_is_forgiven(fleet: Any) -> None:
    fleet.add_node("node-1", fail_first={"power_state": 2})
    sync("node-1")
    sync("node-1")
    sync("node-1")
    assert (fleet.node("node-1").power_failures, fleet.node("node-1").last_error) == (0, None)


def test_a_flapping_node_is_parked_with_an_alarm_and_not_fought(
    fleet: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a machine that somebody else switches on and off
    monkeypatch.setenv("FLEETRING_POWER_FLAP_LIMIT", "3")
    settings.current.cache_clear()
    fleet.add_node("node-1")
    sync("node-1")
    for turn in range(4):
        switch(fleet, "on" if turn % 2 == 0 else "off")
        sync("node-1")

    # Then it is parked after the third change, nobody switches it back, and it is asked no more
    node = fleet.node("node-1")
    assert node.alarm.startswith("power state changed 3 times within 600 s though nobody asked for it")
    assert (node.power_state, node.maintenance) == ("on", False)
    assert "node node-1 is parked" in caplog.text
    assert "power state changed 3 times" in run("list", "--parked", "--json")
    assert sync("node-1")["looked"] == 0

    # When an operator restores it, then the count begins anew
    run("restore", "node-1")
    sync("node-1")
    assert (fleet.node("node-1").power_state, fleet.node("node-1").power_changes) == ("off", 1)


def switch(fleet: Any, power: str) -> None:
    """Switch the machine as somebody in front of it would."""
    driver_info = fleet.node("node-1").driver_info
    with node_drivers.load("fake")("node-1", driver_info) as driver:
        driver.request_power_state(PowerState(power))


def test_an_action_that_worked_on_the_node_since_the_look_knows_better(fleet: Any) -> None:
    # Given a look at a machine, whose row somebody writes before the look is written down
    fleet.add_node("node-1")
    write("node-1", power_state="on")
    stream = Stream(["node-1"], 1, time.monotonic() + 30)
    [node] = stream._nodes()
    stream._news.append((node, Sighting(PowerState.OFF)))
    write("node-1", power_state="rebooting")

    # When it is to be written, then it is not
    stream._write()
    assert fleet.node("node-1").power_state == "rebooting"


def test_a_node_that_is_locked_when_its_news_are_to_be_written_is_left_for_the_next_time(
    fleet: Any, hold: Callable[..., Any]
) -> None:
    for name in ("node-1", "node-2"):
        fleet.add_node(name)
    stream = Stream(["node-1", "node-2"], 1, time.monotonic() + 30)
    stream._news = [(node, Sighting(PowerState.ON)) for node in stream._nodes()]
    with hold("node-1"):
        stream._write()
    assert (fleet.node("node-1").power_state, fleet.node("node-2").power_state) == (None, "on")


def test_nodes_that_do_not_answer_go_first_and_hold_up_nobody(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given three machines that take two seconds to give no answer, and ten that answer, and few lanes
    monkeypatch.setenv("FLEETRING_POWER_SYNC_PARALLEL", "2")
    settings.current.cache_clear()
    for number in range(3):
        fleet.add_node(f"silent-{number}", delay=1.0, unreachable=True)
        write(f"silent-{number}", power_failures=1)
    for number in range(10):
        fleet.add_node(f"good-{number}")
    names = power_sync.nodes_in_service()
    assert list(names[:3]) == ["silent-0", "silent-1", "silent-2"]

    # When they are compared, then the good ones are done long before the silent ones
    watcher = threading.Thread(target=sync, args=names)
    watcher.start()
    try:
        wait_until(lambda: all(fleet.node(f"good-{number}").power_state for number in range(10)))
        assert watcher.is_alive()
    finally:
        watcher.join()
    assert [fleet.node(f"silent-{number}").power_failures for number in range(3)] == [2, 2, 2]


def test_a_pass_ends_in_time_and_leaves_the_rest_to_the_next(fleet: Any) -> None:
    for number in range(5):
        fleet.add_node(f"node-{number}")
    counts = sync(*(f"node-{number}" for number in range(5)), within=0.0)
    assert (counts["left"], counts["looked"]) == (5, 0)


def test_a_driver_that_is_not_installed_here_is_no_fault_of_the_node(
    fleet: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.add_node("node-1")
    write("node-1", driver="exotic")
    with caplog.at_level(logging.WARNING):
        sync("node-1")
    assert "this worker cannot look at node node-1" in caplog.text
    assert fleet.node("node-1").power_failures == 0


def test_equal_news_of_many_nodes_are_one_statement(fleet: Any) -> None:
    for number in range(30):
        fleet.add_node(f"node-{number}")
    updates = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        updates.extend([statement] if statement.startswith("UPDATE") else [])

    event.listen(app.runtime.database.engine, "before_cursor_execute", note)
    sync(*(f"node-{number}" for number in range(30)))
    assert len(updates) == 1
    assert fleet.node("node-29").power_state == "off"


def test_the_periodic_task_called_by_hand_takes_all_nodes(fleet: Any) -> None:
    fleet.add_node("node-1")
    app.loader.import_default_modules()
    app.tasks["beat_schedule.sync_power_states"]()
    assert fleet.node("node-1").power_state == "off"
