import pickle
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tasks.drivers import (
    DriverError,
    DriverNotLoaded,
    DriverTimeout,
    NodeDriver,
    UnknownDriver,
    node_drivers,
    subcloud_drivers,
)
from tasks.drivers.fake import FakeNodeDriver, FakeSubcloudDriver
from tasks.drivers.redfish import RedfishDriver
from tasks.drivers.registry import DriverRegistry
from tasks.drivers.sql import SqlSubcloudDriver


def test_the_installed_drivers_are_found_by_name() -> None:
    assert node_drivers.names() == ["fake", "redfish"]
    assert subcloud_drivers.names() == ["fake", "sql"]
    assert [node_drivers.load(name) for name in node_drivers.names()] == [FakeNodeDriver, RedfishDriver]
    assert [subcloud_drivers.load(name) for name in subcloud_drivers.names()] == [FakeSubcloudDriver, SqlSubcloudDriver]


def test_a_driver_that_is_not_installed_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownDriver, match="node driver 'ipmi': is not installed; there are: fake, redfish"):
        node_drivers.load("ipmi")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DriverRegistry[NodeDriver]:
    """A registry with a driver that works, one that breaks at import, and one that is none."""
    (tmp_path / "broken_driver.py").write_text("import a_library_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    points = {
        "good": "tasks.drivers.fake:FakeNodeDriver",
        "broken": "broken_driver:Driver",
        "absent": "tasks.drivers.fake:Absent",
        "other": "tasks.drivers.fake:FakeSubcloudDriver",
        "bare": "tasks.drivers.base:NodeDriver",
        "function": "tasks.drivers.base:unguarded",
    }
    monkeypatch.setattr(
        "tasks.drivers.registry.entry_points",
        lambda group: [EntryPoint(name, value, group) for name, value in points.items()],
    )
    return DriverRegistry("node", NodeDriver)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "does not load: ModuleNotFoundError.*a_library_that_nobody_has"),
        ("absent", "does not load: AttributeError"),
        ("other", "is no NodeDriver"),
        ("bare", "is no NodeDriver with an `Info`"),
        ("function", "is no NodeDriver"),
    ],
)
def test_a_plug_in_that_is_broken_breaks_only_itself(
    registry: DriverRegistry[NodeDriver], name: str, reason: str
) -> None:
    with pytest.raises(DriverNotLoaded, match=f"node driver '{name}'.*{reason}"):
        registry.load(name)
    assert registry.load("good") is FakeNodeDriver


@pytest.mark.parametrize(
    "error",
    [
        DriverError("node-1", "https://host", "did this"),
        DriverTimeout("node-1", "", "did that", "do this"),
        UnknownDriver("node", "x", ["a", "b"]),
    ],
)
def test_an_error_says_the_same_after_a_journey_to_another_process(error: DriverError) -> None:
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own
    assert str(type(error)(*error.args)) == str(error)
