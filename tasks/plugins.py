"""A user's own actions and drivers: found by entry point or by setting, and loaded where tasks are run or looked up.

A worker or a beat that cannot load one refuses to start. A worker without an action would take the tasks of that action
and bury them, although a sound worker beside it could run them; a beat would forget the periodic tasks that it cannot
see. Everything else, above all the commands that an operator needs just then, goes on without what did not load.
"""

import traceback
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from itertools import dropwhile
from types import ModuleType
from typing import Any

from celery import Task, signals

from tasks import settings
from tasks.errors import FleetringError, PluginError

#: The group of entry points that name a module with actions, or one action.
GROUP = "fleetring.actions"


@dataclass(frozen=True)
class Plugin:
    """A module, ``acme.actions``, or an action in it, ``acme.actions:flash``, and who names it."""

    value: str
    source: str
    remedy: str
    load: "partial[Any]"

    @classmethod
    def of_package(cls, point: EntryPoint) -> "Plugin":
        """One that is installed."""
        package = f"package {point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        source = f"{package} (entry point {point.name} of {GROUP})"
        return cls(point.value, source, "repair, update or uninstall that package", partial(point.load))

    @classmethod
    def of_setting(cls, module: str, app: Any) -> "Plugin":
        """One that the setting names; the current folder is looked through, too."""
        source = "the setting imports (FLEETRING_IMPORTS)"
        return cls(module, source, "correct the setting or the module", partial(app.loader.import_task_module, module))

    def problem(self) -> str | None:
        """Load it, and say what is wrong, if something is."""
        try:
            loaded = self.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's module does while it is imported
            return self._described(f"does not load: {type(error).__name__}: {error}{_place(error)}")
        if isinstance(loaded, ModuleType | Task):
            return None
        return self._described(f"is neither a module nor an action, but {loaded!r}")

    def _described(self, what: str) -> str:
        return f"{self.value}, which {self.source} names, {what}; {self.remedy}"


def connect(app: Any) -> None:
    """Load every plug-in when a worker or a beat of `app` imports its modules."""
    signals.import_modules.connect(_refusal, sender=app)


def problems(app: Any) -> list[str]:
    """Load every plug-in that is installed or set, and say what is wrong with those that do not load."""
    installed = map(Plugin.of_package, sorted(entry_points(group=GROUP)))
    named = (Plugin.of_setting(module, app) for module in settings.current().imports)
    return [problem for plugin in (*installed, *named) if (problem := plugin.problem())]


def load(app: Any) -> None:
    """Load every plug-in that is installed or set.

    Raises:
        PluginError: some do not load; the text names each, who names it, and why. The others are loaded.
    """
    if found := problems(app):
        raise PluginError("\n".join(found))


def _refusal(sender: Any, **_: Any) -> FleetringError | None:
    """Celery raises what a receiver returns, before the worker or beat takes or sends anything."""
    try:
        load(sender)
    except FleetringError as error:
        return error
    return None


def _place(error: BaseException) -> str:
    """Where in imported code it happened; nothing when not even the module was found."""
    frames = dropwhile(lambda frame: not _is_importing(frame), traceback.extract_tb(error.__traceback__))
    imported = [frame for frame in frames if not _is_importing(frame)]
    return f" ({imported[-1].filename}, line {imported[-1].lineno})" if imported else ""


def _is_importing(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith("<frozen importlib")
