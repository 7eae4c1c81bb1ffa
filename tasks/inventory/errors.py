"""The inventory's error tree: each error says what happened, to what, and what to do.

An error's arguments are kept as they are, so that it survives a task's result or a process boundary unchanged.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class InventoryError(Exception):
    """Anything that the inventory refuses or cannot do."""


class DatabaseUnreachable(InventoryError):
    """The inventory database does not answer or cannot be opened."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the inventory database {self.address} cannot be used: {self.reason}; check that it runs and may be "
            "written to, and the setting database_url (FLEETRING_DATABASE_URL)"
        )


class DatabaseNotMigrated(InventoryError):
    """The inventory database lacks tables, or has those of another version of Fleetring."""

    def __init__(self, address: str, reason: str, remedy: str = "run `fleetring db upgrade`") -> None:
        super().__init__(address, reason, remedy)
        self.address = address
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"the inventory database {self.address} {self.reason}; {self.remedy}"


class ConcurrentChange(InventoryError):
    """A row was changed by somebody else between its loading and its writing."""


class _Unknown(InventoryError):
    kind = ""

    def __init__(self, references: Iterable[str]) -> None:
        self.references = tuple(references)
        super().__init__(self.references)

    def __str__(self) -> str:
        named = ", ".join(map(repr, self.references))
        plural = "s" if len(self.references) > 1 else ""
        return f"unknown {self.kind}{plural} {named}; `fleetring {self.kind}s list` shows the known ones"


class UnknownNode(_Unknown):
    """One or several node names or UUIDs are not in the inventory."""

    kind = "node"


class UnknownSubcloud(_Unknown):
    """One or several subcloud names are not in the inventory."""

    kind = "subcloud"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in an inventory file; lines count from 1, line 0 means the file as a whole."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class InventoryFileError(InventoryError):
    """An inventory file has mistakes; nothing of it was imported."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        return "\n".join([f"nothing was imported, {count} to correct:", *map(str, self.problems)])
