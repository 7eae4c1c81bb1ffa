"""A user's own actions and drivers, in packages that are installed for real and in modules that a setting names."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tasks import app, plugins, settings
from tasks.cli import fleet as cli
from tasks.drivers import DriverNotLoaded, UnknownDriver, node_drivers
from tasks.drivers.fake import FakeNodeDriver
from tasks.errors import DuplicateAction, PluginError
from tasks.node_actions import set_power_state

ACTIONS = """
from tasks import ActionTask, node_action
from tasks.drivers import node_drivers
from tasks.drivers.fake import FakeNodeDriver

class {name}Driver(FakeNodeDriver):
    "A fake that counts as another driver."

node_drivers.register("{name}", {name}Driver)

@node_action()
def greet(task: ActionTask, word: str) -> str:
    return f"{{word}} {{task.node.name}} by {{type(task.driver).__name__}}"
"""


@pytest.fixture(autouse=True)
def _forget_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers ends with it."""
    monkeypatch.setattr(node_drivers, "_loaded", {})


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Installs a package whose entry point names a module, for this process and its children."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))

    def package(name: str, target: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        about = tmp_path / f"{name}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (about / "entry_points.txt").write_text(f"[fleetring.actions]\n{name} = {target}\n")

    return package


@pytest.fixture
def importing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the setting imports."""

    def set_(value: str) -> None:
        monkeypatch.setenv("FLEETRING_IMPORTS", value)
        settings.current.cache_clear()

    return set_


def celery(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "celery", "-A", "tasks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_worker_runs_the_actions_of_a_package_and_of_a_module_in_the_current_folder_with_their_drivers(
    fleet: Any, install: Callable[..., None], importing: Callable[[str], None]
) -> None:
    # Given an installed package with an action and a driver, and a module of the current folder with as much
    install("acme", "acme", ACTIONS.format(name="acme"))
    (fleet.folder / "folder_actions.py").write_text(ACTIONS.format(name="folder"))
    importing("folder_actions")
    plugins.load(app)
    for name in ("acme", "folder"):
        fleet.add_node(f"node-{name}", driver=name)

    # When a stock worker gets them, then it runs them
    with fleet.worker("-c", "1"):
        by_package = app.tasks["acme.greet"].delay("node-acme", "hello")
        by_setting = app.tasks["folder_actions.greet"].delay("node-folder", "hello")
        assert by_package.get(timeout=60) == "hello node-acme by acmeDriver"
        assert by_setting.get(timeout=60) == "hello node-folder by folderDriver"


@pytest.mark.parametrize(
    ("module", "text", "why"),
    [
        (
            "torn_a",
            "import a_library_that_nobody_has",
            r"ModuleNotFoundError.*a_library_that_nobody_has.*torn_a\.py, li",
        ),
        ("torn_b", "def (", r"SyntaxError: invalid syntax"),
        ("torn_c", "raise SystemExit(3)", r"SystemExit: 3 .*torn_c\.py, line 1"),
        ("torn_d", "\n\n1 / 0", r"ZeroDivisionError.*torn_d\.py, line 3"),
    ],
)
def test_a_package_that_does_not_load_is_named_with_the_reason_and_the_others_are_loaded(
    install: Callable[..., None], module: str, text: str, why: str
) -> None:
    # Given a package that breaks, and one that does not
    install(module, module, text)
    install(f"sound_after_{module}", f"sound_after_{module}", "loaded = True")

    # When all are loaded, then the error names the broken one, and the other is there
    with pytest.raises(PluginError, match=rf"{module}, which package {module} 1.2 .*does not load: {why}.*uninstall"):
        plugins.load(app)
    assert sys.modules[f"sound_after_{module}"].loaded


def test_an_entry_point_that_is_no_action_and_a_module_that_is_not_there_are_named(
    install: Callable[..., None], importing: Callable[[str], None]
) -> None:
    install("odd", "odd:answer", "answer = 42")
    importing("nowhere.actions")
    [odd, absent] = plugins.problems(app)
    assert "odd:answer, which package odd 1.2" in odd
    assert "neither a module nor an action, but 42" in odd
    assert "nowhere.actions, which the setting imports (FLEETRING_IMPORTS) names, does not load" in absent
    settings.current.cache_clear()


@pytest.mark.parametrize("program", ["worker", "beat"])
def test_workers_and_beats_refuse_to_start_without_a_plug_in_in_one_sentence(
    fleet: Any, importing: Callable[[str], None], program: str
) -> None:
    importing("nowhere")
    done = celery(program)
    assert done.returncode == 2
    assert "Error: nowhere, which the setting imports (FLEETRING_IMPORTS) names, does not load" in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_go_on_without_a_plug_in_and_warn(fleet: Any, importing: Callable[[str], None]) -> None:
    importing("nowhere")
    (fleet.folder / "fleet.yaml").write_text("nodes: [{name: node-1, driver: fake}]")
    done = CliRunner().invoke(cli, ["nodes", "import", "fleet.yaml"])
    assert done.exit_code == 0
    assert fleet.node("node-1").driver == "fake"
    assert "warning: nowhere, which the setting imports" in done.stderr


def test_two_files_that_declare_one_action_are_both_named(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two modules that declare an action of one name
    text = "from tasks import node_action\n@node_action(name='acme.polish')\ndef polish(task): ...\n"
    for name in ("first_polish", "second_polish"):
        (fleet.folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(fleet.folder)

    # When both are imported, then the second is refused
    __import__("first_polish")
    with pytest.raises(DuplicateAction, match=r"acme\.polish.*first_polish\.py.*second_polish\.py"):
        __import__("second_polish")


def test_an_action_of_a_script_has_the_name_under_which_workers_import_it(fleet: Any) -> None:
    text = "from tasks import node_action\n@node_action()\ndef polish(task): ...\nprint(polish.name)\n"
    (fleet.folder / "polishing.py").write_text(text)
    done = subprocess.run([sys.executable, "polishing.py"], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "polishing.polish\n", done.stderr


def test_an_unknown_driver_of_a_node_is_told_with_the_node_and_kept_in_its_row(fleet: Any) -> None:
    # Given a node whose driver nobody has installed
    fleet.add_node("node-1", driver="ipmi")

    # When an action needs the driver
    with pytest.raises(UnknownDriver, match=r"'ipmi' of node-1: is not installed; there are: .*setting imports"):
        set_power_state.apply(args=["node-1", "on"], throw=True)

    # Then the node's row says so, and it is free
    assert "node driver 'ipmi' of node-1" in fleet.node("node-1").last_error
    assert app.runtime.locks.list() == ()


def test_a_driver_cannot_be_registered_under_the_name_of_another() -> None:
    with pytest.raises(DriverNotLoaded, match=r"'redfish'.*has the name of tasks\.drivers\.redfish:RedfishDriver"):
        node_drivers.register("redfish", FakeNodeDriver)
    with pytest.raises(DriverNotLoaded, match="is no NodeDriver"):
        node_drivers.register("plain", int)  # type: ignore[arg-type] # what is refused
    node_drivers.register("fake", FakeNodeDriver)


def test_the_setting_is_checked_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETRING_IMPORTS", "acme.actions, spare ,")
    assert settings.load().imports == ("acme.actions", "spare")
    monkeypatch.setenv("FLEETRING_IMPORTS", "acme/actions.py")
    with pytest.raises(Exception, match=r"setting imports = .*'acme/actions.py' is no name of a module"):
        settings.load()
