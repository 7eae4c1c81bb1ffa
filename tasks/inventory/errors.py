"""The inventory's error tree: each error says what happened, to what, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass


class InventoryError(Exception):
    """Anything that the inventory refuses or cannot do."""


class DatabaseUnreachable(InventoryError):
    """The inventory database does not answer or cannot be opened."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(
            f"the inventory database {address} cannot be used: {reason}. Check that it runs and may be written to, "
            "and the setting database_url (FLEETRING_DATABASE_URL)"
        )


class DatabaseNotMigrated(InventoryError):
    """The inventory database lacks tables, or has those of another version of Fleetring."""

    def __init__(self, address: str, reason: str, remedy: str = "run `fleetring db upgrade`") -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"the inventory database {address} {reason}: {remedy}")


class ConcurrentChange(InventoryError):
    """A row was changed by somebody else between its loading and its writing."""


class _Unknown(InventoryError):
    kind = ""

    def __init__(self, references: Iterable[str]) -> None:
        self.references = tuple(references)
        named = ", ".join(repr(reference) for reference in self.references)
        plural = "s" if len(self.references) > 1 else ""
        super().__init__(f"unknown {self.kind}{plural} {named}: `fleetring {self.kind}s list` shows the known ones")


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
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"nothing was imported, {count} to correct:", *map(str, self.problems)]))
