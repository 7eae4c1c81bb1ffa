"""What can keep a subcloud from the centre's data, through no fault of its own."""

from tasks.errors import FleetringError


class CentreUnavailable(FleetringError):
    """The centre's data cannot be had now."""


class CentreBusy(CentreUnavailable):
    """The budget for reading from the centre is used up.

    Attributes:
        retry_after: After how many seconds it is worth asking again.
    """

    def __init__(self, what: str, retry_after: float) -> None:
        super().__init__(
            f"the budget for reading {what} from the centre is used up for {retry_after:.1f} s or more; "
            "if that happens often, raise the settings centre_rate, centre_burst or centre_concurrency"
        )
        self.retry_after = retry_after


class CentreFailed(CentreUnavailable):
    """Reading from the centre failed."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} could not be read from the centre: {reason}")
