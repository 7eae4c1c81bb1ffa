"""What one look at a machine's power means for its row. Nothing here asks anybody or writes anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.drivers import PowerState
from tasks.inventory.power_rows import KnownPower
from tasks.settings import Settings

#: States that a machine passes through; none of them says that somebody has switched it.
PASSING = frozenset({PowerState.POWERING_ON, PowerState.POWERING_OFF, PowerState.REBOOTING})


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a machine answered: its power state, or why there is none."""

    state: PowerState | None
    error: str = ""


def changes_after(known: KnownPower, seen: Sighting, now: float, settings: Settings) -> Mapping[str, Any]:
    """Return the columns that change in a node's row; none where it says already what was seen.

    Args:
        known: the node as its row knows it.
        seen: what the machine answered.
        now: the database's clock, in epoch seconds.
        settings: those with the limits.
    """
    if seen.state is None:
        return _no_answer(known, seen.error, settings)
    answers_again = {"power_failures": 0, "last_error": None} if known.power_failures else {}
    if seen.state in PASSING or seen.state == known.power_state:
        return answers_again
    if known.power_state is None or PowerState.UNKNOWN in (seen.state, known.power_state):
        return {**answers_again, "power_state": seen.state}
    return {**answers_again, "power_state": seen.state, **_unasked(known, now, settings)}


def _no_answer(known: KnownPower, error: str, settings: Settings) -> Mapping[str, Any]:
    failures = known.power_failures + 1
    counted = {"power_failures": failures, "last_error": f"power sync: {error}"}
    if failures < settings.power_sync_failures:
        return counted
    reason = f"power sync: no answer {failures} times in a row, the last time: {error}"
    return {**counted, "power_state": None, "maintenance": True, "maintenance_reason": reason}


def _unasked(known: KnownPower, now: float, settings: Settings) -> Mapping[str, Any]:
    """Count a change that nobody asked for; too many in a while are an alarm."""
    since = known.power_changes_since
    goes_on = since is not None and 0 <= now - since <= settings.power_flap_window
    changes = known.power_changes + 1 if goes_on else 1
    counted = {"power_changes": changes, "power_changes_since": since if goes_on else now}
    if changes < settings.power_flap_limit:
        return counted
    alarm = (
        f"power state changed {changes} times within {settings.power_flap_window:g} s though nobody asked for it; "
        "the power sync leaves the node alone until `fleetring nodes restore` is told of it"
    )
    return {**counted, "alarm": alarm}
