"""The drivers' error tree: each error names the target and its address, what happened, and what to do."""

from collections.abc import Iterable


class DriverError(Exception):
    """Anything that goes wrong between Fleetring and what a driver talks to.

    The arguments are kept as they are, so that an error survives a task's result unchanged.

    Args:
        target: The node, subcloud or file that the error is about.
        address: Where the driver talked to, without secrets; empty when it had not come so far.
        reason: What happened.
        remedy: What to do. Defaults to the usual advice for this kind of error.
    """

    usual_remedy = ""

    def __init__(self, target: str, address: str, reason: str, remedy: str = "") -> None:
        self.target = target
        self.address = address
        self.reason = reason
        self.remedy = remedy or self.usual_remedy
        super().__init__(target, address, reason, remedy)

    def __str__(self) -> str:
        where = f"{self.target} ({self.address})" if self.address else self.target
        return f"{where}: {self.reason}" + (f"; {self.remedy}" if self.remedy else "")


class DriverUnreachable(DriverError):
    """There is no connection: refused, no route, name unknown, TLS not trusted."""

    usual_remedy = "check the address in driver_info, the network between, and that the other side runs"


class DriverTimeout(DriverError):
    """The other side did not answer, or did not reach the wanted state, in time."""

    usual_remedy = "look at the machine's console or log; try again, or with a longer timeout"


class DriverRejected(DriverError):
    """The other side answered, and said no."""

    usual_remedy = "check driver_info against what the other side offers"


class DriverUnavailable(DriverRejected):
    """The other side answered that it cannot answer now (an HTTP 5xx, for one); later it may."""

    usual_remedy = "it may be starting or overloaded: try again later, then restart it"


class CredentialsRefused(DriverRejected):
    """The other side does not let us in with these credentials, or with none."""

    usual_remedy = "check which credentials driver_info names, and the entry of that name in the credentials file"


class CentreUnusable(DriverRejected):
    """The centre lacks rows that every centre has: that is its fault, and no wish to have none in the subclouds."""

    usual_remedy = "repair the centre"


class InvalidDriverInfo(DriverError):
    """The driver_info of a node or subcloud is not what its driver needs."""

    usual_remedy = "correct it in the inventory file and import that again"


class CredentialsMissing(DriverError):
    """The credentials that a node or subcloud names are not there."""

    usual_remedy = "add the entry to the credentials file"


class CredentialsFileError(DriverError):
    """The credentials file cannot be used."""

    usual_remedy = "correct the file; it holds entries `NAME: {username: ..., password: ...}`"


class DriverNotLoaded(DriverError):
    """A driver is installed, but its code does not load."""

    usual_remedy = "install what it needs (`pip install 'fleetring[redfish]'` for redfish), or repair the plug-in"


class UnknownDriver(DriverError):
    """No driver of that name is installed."""

    usual_remedy = "correct the name, install its package, or name its module in the setting imports"

    def __init__(self, kind: str, name: str, known: Iterable[str], for_: str = "") -> None:
        names = ", ".join(known) or "none"
        owner = f" of {for_}" if for_ else ""
        super().__init__(f"{kind} driver {name!r}{owner}", "", f"is not installed; there are: {names}")
        self.args = (kind, name, tuple(known), for_)
