"""What the row of a subcloud says about a failure: its kind, and words that an operator can act on."""

from tasks.drivers import (
    CentreUnusable,
    CredentialsFileError,
    CredentialsMissing,
    CredentialsRefused,
    DriverNotLoaded,
    DriverRejected,
    DriverTimeout,
    DriverUnreachable,
    InvalidDriverInfo,
    UnknownDriver,
)
from tasks.errors import FleetringError
from tasks.inventory import SyncFailure
from tasks.storm import CentreUnavailable


class StepOverdue(FleetringError):
    """A step of an initial sync took longer than it may; it is left behind, and can change nothing any more."""

    def __init__(self, subcloud: str, step: str, seconds: float) -> None:
        self._told = (subcloud, step, seconds)
        super().__init__(
            f"{subcloud}: {step} took longer than {seconds:g} s; look whether the subcloud hangs or its line is slow, "
            "or raise the setting sync_step_timeout (FLEETRING_SYNC_STEP_TIMEOUT)"
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Celery makes an error of another kind of one that cannot be pickled."""
        return type(self), self._told


class TooManyHang(FleetringError):
    """So many calls to subclouds hang in a worker's process that it begins no further sync."""

    def __init__(self, hanging: int) -> None:
        super().__init__(
            f"{hanging} calls to subclouds hang in this worker's process and cannot be ended; restart the worker, and "
            "look at its log for the subclouds that took longer than they may"
        )


class Unanswered(FleetringError):
    """A subcloud did not answer the short question that stands before its steps."""

    def __init__(self, subcloud: str, seconds: float) -> None:
        self._told = (subcloud, seconds)
        super().__init__(
            f"{subcloud} did not answer within {seconds:g} s; check that it runs, its address in driver_info and the "
            "network between, or raise the setting sync_probe_timeout (FLEETRING_SYNC_PROBE_TIMEOUT)"
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """As in `StepOverdue`."""
        return type(self), self._told


#: Failures of the centre, not of a subcloud.
CENTRE_AT_FAULT = (CentreUnavailable, CentreUnusable)

#: Failures that count as no attempt of the subcloud.
NOT_ITS_FAULT = (*CENTRE_AT_FAULT, TooManyHang)

_KINDS: tuple[tuple[tuple[type[Exception], ...], SyncFailure], ...] = (
    (CENTRE_AT_FAULT, SyncFailure.CENTRE),
    ((TooManyHang,), SyncFailure.WORKER_STUCK),
    ((DriverUnreachable, Unanswered), SyncFailure.UNREACHABLE),
    ((DriverTimeout, StepOverdue), SyncFailure.TIMEOUT),
    ((CredentialsMissing, CredentialsFileError, CredentialsRefused), SyncFailure.CREDENTIALS),
    ((InvalidDriverInfo, UnknownDriver, DriverNotLoaded), SyncFailure.CONFIGURATION),
    ((DriverRejected,), SyncFailure.REFUSED),
)
#: Errors that are told in the row and need no traceback in the log.
EXPECTED = tuple(kind for kinds, _ in _KINDS for kind in kinds)


def kind_of(error: Exception) -> SyncFailure:
    """The kind of failure that an error is."""
    return next((failure for kinds, failure in _KINDS if isinstance(error, kinds)), SyncFailure.ERROR)


def describe(error: Exception) -> str:
    """What happened and what to do."""
    if isinstance(error, EXPECTED):
        return str(error)
    return f"{type(error).__name__}: {error}; this is a fault of Fleetring or of the driver: see the worker's log"
