"""Finds drivers by name among entry points and what was registered, so that a package of anybody's may add one."""

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
        """The names of the drivers that are installed or registered, sorted."""
        return sorted({*self._entry_points, *self._loaded})

    def load(self, name: str, for_: str = "") -> type[Driver]:
        """The class of the named driver, imported on first use.

        Args:
            name: The driver's name.
            for_: The node or subcloud that names it, for errors. Defaults to none.

        Raises:
            UnknownDriver: when none of that name is installed.
            DriverNotLoaded: when its code does not load, or is no driver of this kind.
        """
        if name not in self._loaded:
            self._loaded[name] = self._import(name, for_)
        return self._loaded[name]

    def register(self, name: str, driver: type[Driver]) -> None:
        """Add a driver without an entry point: in a module that the setting `imports` names.

        Raises:
            DriverNotLoaded: when it is no driver of this kind, or another one of that name is there.
        """
        target = self._target(name)
        self._checked(driver, target, repr(driver))
        value, there = _address(driver), self._address_of(name)
        if there not in {None, value}:
            raise DriverNotLoaded(target, value, f"has the name of {there}", "give one of them another name")
        self._loaded[name] = driver

    def _address_of(self, name: str) -> str | None:
        if name in self._entry_points:
            return self._entry_points[name].value
        return _address(self._loaded[name]) if name in self._loaded else None

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

    def _target(self, name: str, for_: str = "") -> str:
        return f"{self._kind} driver {name!r}" + (f" of {for_}" if for_ else "")

    def _import(self, name: str, for_: str) -> type[Driver]:
        if name not in self._entry_points:
            raise UnknownDriver(self._kind, name, self.names(), for_)
        point = self._entry_points[name]
        target = self._target(name, for_)
        try:
            driver = point.load()
        except Exception as error:
            raise DriverNotLoaded(target, point.value, f"does not load: {error!r}") from error
        return self._checked(driver, target, point.value)

    def _checked(self, driver: Any, target: str, value: str) -> type[Driver]:
        if not (isinstance(driver, type) and issubclass(driver, self._base) and hasattr(driver, "Info")):
            raise DriverNotLoaded(target, value, f"is no {self._base.__name__} with an `Info`")
        return driver


def _address(driver: type) -> str:
    return f"{driver.__module__}:{driver.__qualname__}"


node_drivers: DriverRegistry[NodeDriver] = DriverRegistry("node", NodeDriver)  # type: ignore[type-abstract] # only its subclasses are made
"""The node drivers."""

subcloud_drivers: DriverRegistry[SubcloudDriver] = DriverRegistry("subcloud", SubcloudDriver)  # type: ignore[type-abstract] # as above
"""The subcloud drivers."""
