"""Reads and checks an inventory file without a database."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tasks.inventory.entries import NodeEntry, SubcloudEntry
from tasks.inventory.errors import InventoryFileError, Problem
from tasks.inventory.objections import Path as Place
from tasks.inventory.objections import objections
from tasks.inventory.references import as_uuid
from tasks.inventory.yaml_lines import Document

_PLAINER = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "model_type": "is no mapping with `name` and `driver`",
    "string_type": "is no text: put it in quotes",
    "dict_type": "is no mapping",
    "bool_type": "is neither true nor false",
}

Entry = TypeVar("Entry", bound=BaseModel)


class KnownDrivers(Protocol):
    """The drivers of one kind, as far as an import needs to know them."""

    def names(self) -> Collection[str]:
        """Their names."""

    def mistakes(self, name: str, driver_info: Mapping[str, Any]) -> Iterable[tuple[Place, str]]:
        """Where a driver_info is not what the named driver needs (keys and indexes), and how."""


class InventoryFile:
    """An inventory file: YAML with a list `nodes`, a list `subclouds`, or both.

    Args:
        path: The file.
        node_drivers: The node drivers there are.
        subcloud_drivers: The subcloud drivers there are.

    Attributes:
        nodes: The valid entries of `nodes`, each with its line.
        subclouds: The valid entries of `subclouds`, each with its line.
        problems: All that is wrong with the file; callers add what they find.
    """

    def __init__(self, path: Path, *, node_drivers: KnownDrivers, subcloud_drivers: KnownDrivers) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._document = self._read()
        for line, key in self._document.twice:
            self.add_problem(line, f"the key {key!r} stands here a second time")
        self.nodes = self._list("nodes", NodeEntry, node_drivers)
        self.subclouds = self._list("subclouds", SubcloudEntry, subcloud_drivers)
        self._check_top()

    def add_problem(self, line: int, reason: str) -> None:
        """Note a mistake on a line (0: the file as a whole)."""
        self.problems.append(Problem(str(self.path), line, reason))

    def has(self, kind: str) -> bool:
        """Whether the file has a list of that name."""
        return isinstance(self._document.data, dict) and kind in self._document.data

    def raise_problems(self) -> None:
        """Raise InventoryFileError with all problems, if there are any."""
        if self.problems:
            raise InventoryFileError(self.problems)

    def _read(self) -> Document:
        try:
            return Document(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            self.add_problem(0, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.add_problem(0, f"is not UTF-8 text (byte {error.start})")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.add_problem(mark.line + 1 if mark else 0, f"is not legal YAML: {error.problem or error.context}")
        except yaml.YAMLError as error:
            self.add_problem(0, f"is not legal YAML: {error}")
        raise InventoryFileError(self.problems)

    def _check_top(self) -> None:
        data = self._document.data
        if not isinstance(data, dict):
            self.add_problem(1, "holds neither a list `nodes:` nor a list `subclouds:`")
            return
        for key in data.keys() - {"nodes", "subclouds"}:
            self.add_problem(self._document.line([key]), f"unknown key {key!r}; legal are `nodes` and `subclouds`")

    def _list(self, kind: str, model: type[Entry], drivers: KnownDrivers) -> list[tuple[int, Entry]]:
        if not self.has(kind):
            return []
        items = self._document.data[kind]
        if not isinstance(items, list):
            self.add_problem(self._document.line([kind]), f"`{kind}` is not a list")
            return []
        self._check_twice(kind, items)
        entries = []
        for index, item in enumerate(items):
            place = (kind, index)
            self._check_driver(place, item, drivers)
            entry = self._entry(place, item, model)
            if entry is not None:
                entries.append((self._document.line(place), entry))
        return entries

    def _entry(self, place: Place, item: Any, model: type[Entry]) -> Entry | None:
        try:
            return model.model_validate(item)
        except ValidationError as error:
            for mistake in error.errors(include_url=False, include_input=False):
                self._complain(item, (*place, *mistake["loc"]), _sentence(mistake))
        return None

    def _check_driver(self, place: Place, item: Any, drivers: KnownDrivers) -> None:
        driver, info = _get(item, "driver"), _get(item, "driver_info")
        known = isinstance(driver, str) and driver in drivers.names()
        if isinstance(driver, str) and not known:
            legal = ", ".join(sorted(drivers.names())) or "none"
            self._complain(item, (*place, "driver"), f"unknown driver {driver!r}; there are: {legal}")
        unfit = list(objections(info, (*place, "driver_info")))
        if known and not unfit and isinstance(info, dict | None):
            for where, reason in drivers.mistakes(driver, info or {}):
                told = f"{'.'.join(map(str, where))}: {reason}" if where else reason
                unfit.append(((*place, "driver_info", *where), f"driver_info: {told}"))
        for where, reason in unfit:
            self._complain(item, where, reason)

    def _complain(self, item: Any, place: Place, reason: str) -> None:
        name = _get(item, "name")
        self.add_problem(self._document.line(place), reason if name is None else f"{name!r}: {reason}")

    def _check_twice(self, kind: str, items: Sequence[Any]) -> None:
        first: dict[str, int] = {}
        for index, item in enumerate(items):
            line = self._document.line((kind, index))
            for identity in _identities(item):
                if identity in first:
                    self.add_problem(line, f"{identity} stands already on line {first[identity]}")
                first.setdefault(identity, line)


def _get(item: Any, key: str) -> Any:
    return item.get(key) if isinstance(item, dict) else None


def _identities(item: Any) -> Iterator[str]:
    name, uuid = _get(item, "name"), _get(item, "uuid")
    if isinstance(name, str):
        yield f"the name {name!r}"
    if isinstance(uuid, str):
        yield f"the UUID {as_uuid(uuid) or uuid}"


def _sentence(mistake: ErrorDetails) -> str:
    message = _PLAINER.get(mistake["type"]) or mistake["msg"].removeprefix("Value error, ")
    field = ".".join(map(str, mistake["loc"]))
    return f"{field}: {message}" if field else message
