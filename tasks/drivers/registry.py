"""Finds drivers by name among the installed entry points, so that a package of anybody's may add one."""

from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from tasks.drivers.base import NodeDriver, SubcloudDriver
from tasks.drivers.errors import DriverNotLoaded, UnknownDriver

Driver = TypeVar("Driver", NodeDriver, SubcloudDriver)


class DriverRegistry(Generic[Driver]):
    """The drivers of one kind. A plug-in that does not load is an error for those who ask for it, and for nobody else.

    Args:
        kind: What the drivers are for, for errors: "node" or "subcloud".
        base: The class that every driver of this kind extends.
        group: The entry-point group. Defaults to `fleetring.<kind>_drivers`.
    """

    def __init__(self, kind: str, base: type[Driver], group: str = "") -> None:
        self._kind = kind
        self._base: type[Driver] = base
        self._group = group or f"fleetring.{kind}_drivers"
        self._loaded: dict[str, type[Driver]] = {}

    def names(self) -> list[str]:
        """The names of the installed drivers, sorted."""
        return sorted(self._entry_points)

    def load(self, name: str) -> type[Driver]:
        """The class of the named driver, imported on first use.

        Raises:
            UnknownDriver: when none of that name is installed.
            DriverNotLoaded: when its code does not load, or is no driver of this kind.
        """
        if name not in self._loaded:
            self._loaded[name] = self._import(name)
        return self._loaded[name]

    def mistakes(self, name: str, driver_info: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        """Where a driver_info is not what the named driver needs (keys and indexes), and how; nothing is connected.

        A driver that cannot be loaded is a mistake of the whole.
        """
        try:
            return self.load(name).Info.mistakes(driver_info)
        except (UnknownDriver, DriverNotLoaded) as error:
            return [((), str(error))]

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self._group)}

    def _import(self, name: str) -> type[Driver]:
        if name not in self._entry_points:
            raise UnknownDriver(self._kind, name, self.names())
        point = self._entry_points[name]
        target = f"{self._kind} driver {name!r}"
        try:
            driver = point.load()
        except Exception as error:
            raise DriverNotLoaded(target, point.value, f"does not load: {error!r}") from error
        if not (isinstance(driver, type) and issubclass(driver, self._base) and hasattr(driver, "Info")):
            raise DriverNotLoaded(target, point.value, f"is no {self._base.__name__} with an `Info`")
        return driver


node_drivers: DriverRegistry[NodeDriver] = DriverRegistry("node", NodeDriver)  # type: ignore[type-abstract] # only its subclasses are made
"""The node drivers."""

subcloud_drivers: DriverRegistry[SubcloudDriver] = DriverRegistry("subcloud", SubcloudDriver)  # type: ignore[type-abstract] # as above
"""The subcloud drivers."""
