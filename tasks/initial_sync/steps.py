"""The steps of an initial sync."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.drivers import SubcloudDriver
from tasks.inventory import Subcloud


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it calls, and whether it is left out where the subcloud was only out of reach for a while."""

    run: Callable[[SubcloudDriver], object]
    heavy: bool = False


#: The steps in their order: old tokens may be revoked only after the ids have changed, so keys follow identity.
STEPS: dict[str, Step] = {
    "identity": Step(lambda driver: driver.sync_identity(), heavy=True),
    "keys": Step(lambda driver: driver.distribute_keys()),
    "audit-reset": Step(lambda driver: driver.reset_audit()),
    "enable": Step(lambda driver: driver.enable()),
}


def remaining(row: Subcloud) -> Sequence[str]:
    """The steps from the row's cursor on: a retry resumes where the last attempt failed."""
    names = [name for name, step in STEPS.items() if not (row.subsequent_sync and step.heavy)]
    return names[names.index(row.step) :] if row.step in names else names
