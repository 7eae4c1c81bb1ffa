"""The fleets that users test their own actions with."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tasks import ActionTask, app, node_action, pool, settings
from tasks.drivers import UnknownDriver
from tasks.inventory import SyncState, UnknownNode
from tasks.node_actions import inspect, set_power_state
from tasks.testing import eager_fleet


@node_action(name="tests.tell_progress")
def tell_progress(task: ActionTask) -> str:
    task.set_name("rack 4")
    task.progress(1, 2, "half")
    return "told" if not task.should_terminate() else "asked to end"


@pytest.fixture
def eager(tmp_path: Path) -> Any:
    """A fleet without a broker, in a process whose own broker is away."""
    with eager_fleet(tmp_path, power_timeout=3) as made:
        yield made


def test_an_eager_fleet_runs_actions_at_once_with_locks_rows_and_drivers_and_without_a_broker(eager: Any) -> None:
    # Given a node of a fleet without a broker
    eager.add_node("node-1", power_delay=0.05)

    # When actions are sent or run, then they have ended, and row and lock tell so
    assert set_power_state.delay("node-1", "on").get() == {"node-1": "on"}
    assert eager.node("node-1").power_state == "on"
    assert eager.run(inspect, "node-1")["node-1"]["power_state"] == "on"
    assert eager.run(tell_progress, "node-1") == "told"
    assert pool.add(tell_progress.s("node-1")).get() == "told"
    assert app.runtime.locks.list() == ()


def test_an_eager_fleet_answers_errors_as_a_real_one(eager: Any) -> None:
    eager.add_node("node-1", driver="ipmi")
    with pytest.raises(UnknownDriver):
        eager.run(set_power_state, "node-1", "on")
    with pytest.raises(UnknownNode):
        eager.run(inspect, "ghost")
    assert eager.add_subcloud("site-1").state is SyncState.NONE


def test_the_readmes_code_outside_a_task_runs_as_it_stands(eager: Any) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    [example] = re.findall(r"```python\n(from tasks import task_manager\n.*?)```", readme, re.DOTALL)
    eager.add_node("node-01")
    exec(example, {})  # noqa: S102 - our own text
    assert eager.node("node-01").maintenance_reason == "new disk"


def test_settings_of_a_fleet_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process with settings of its own
    monkeypatch.setenv("FLEETRING_SLOTS", "3")
    settings.current.cache_clear()
    broker = os.environ["FLEETRING_BROKER_URL"]

    # When a fleet lasts, then its settings count alone, for Celery, too
    with eager_fleet(tmp_path, max_redeliveries=1):
        assert (app.settings.slots, app.settings.max_redeliveries) == (8, 1)
        assert (app.conf.worker_concurrency, app.conf.task_always_eager) == (8, True)

    # Then those from before are back
    assert (app.settings.slots, app.settings.broker_url) == (3, broker)
    assert (app.conf.broker_url, app.conf.task_always_eager) == (broker, False)
    monkeypatch.undo()
    app.reconfigure()
