import json
import urllib.request
from collections.abc import Callable

import psutil
import pytest

from tests.processes import free_port
from tests.system.commands import Command

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


def assert_all_is_done(command: Command) -> None:
    """The last table has every node on and every subcloud synchronised."""
    assert "nodes on, over Redfish" in command.text, command.text[-3000:]
    assert "24 of 24" in command.text
    assert "12 of 12" in command.text


def test_the_demo_turns_every_bmc_on_synchronises_every_subcloud_and_leaves_nothing_behind(
    start: Callable[..., Command],
) -> None:
    # When the demo runs
    demo = start("demo", "--bmc-port", free_port())
    demo.until(lambda: "done" in demo.text, "the first line")
    processes = demo.children()
    status = demo.popen.wait(150)

    # Then it ends well, in plain lines, and so do all its processes
    assert status == 0, demo.text[-3000:]
    assert_all_is_done(demo)
    assert "64/64 done" in demo.text
    assert psutil.wait_procs(processes, 5)[1] == []
    assert not (demo.folder / ".fleetring/running.toml").exists()


def test_losing_a_worker_changes_nothing_but_the_time_and_flower_shows_what_ran(start: Callable[..., Command]) -> None:
    # Given a demo that keeps running, with Flower
    flower_port = free_port()
    demo = start("demo", "--keep", "--bmc-port", free_port(), "--flower-port", flower_port)
    demo.until(lambda: "running" in demo.text, "the first actions run")

    # When one of its workers is told to end in the middle
    worker = _main_process(demo, "worker-1@")
    worker.terminate()

    # Then the last table is the same
    demo.until(lambda: "Ctrl-C ends it" in demo.text, "the end of the scenario", patience=150)
    assert_all_is_done(demo)

    # And Flower shows actions and syncs by name, with their arguments and results
    with urllib.request.urlopen(f"http://127.0.0.1:{flower_port}/tasks/datatable?{_DATATABLE}") as answer:
        tasks = json.load(answer)["data"]
    shown = {(task["name"], task["state"]) for task in tasks}
    assert ("tasks.node_actions.power.set_power_state", "SUCCESS") in shown
    assert ("tasks.initial_sync.synchronise", "SUCCESS") in shown
    power_on = [task for task in tasks if "set_power_state" in task["name"] and "'node-24'" in task["args"]]
    assert power_on[0]["result"] == "{'node-24': 'on'}"

    # When the user ends it, then every process goes
    processes = demo.children()
    demo.interrupt()
    demo.popen.wait(60)
    assert psutil.wait_procs(processes, 5)[1] == []


def _main_process(command: Command, name: str) -> psutil.Process:
    """The parent process of a worker: the one that supervises its pool."""
    [found] = [
        one for one in psutil.Process(command.popen.pid).children() if any(name in word for word in one.cmdline())
    ]
    return found


_DATATABLE = "draw=1&start=0&length=500&search[value]=&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name"
