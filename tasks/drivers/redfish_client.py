"""One BMC's Redfish service through sushy: connecting, reading afresh, and errors that say what happened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests  # type: ignore[import-untyped,unused-ignore] # newer releases bring types, older ones do not
from sushy import Sushy, auth, connector, exceptions
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from tasks.drivers.credentials import Credential
from tasks.drivers.errors import (
    DriverError,
    DriverRejected,
    DriverTimeout,
    DriverUnavailable,
    DriverUnreachable,
    InvalidDriverInfo,
)

_T = TypeVar("_T")
_READ_ATTEMPTS = 3


class _Anonymous(auth.AuthBase):  # type: ignore[misc] # sushy has no types
    """Sends no credentials; sushy's own classes would send empty ones."""

    def _do_authenticate(self) -> None:
        """Nothing is to be done."""

    def can_refresh_session(self) -> bool:
        """There is no session."""
        return False


class RedfishClient:
    """Reads and changes one system of a BMC.

    Credentials go with each request (basic authentication), so that no session of the few that a BMC has is held.

    Args:
        node: The node's name, for errors.
        address: The BMC's URL, without credentials.
        system: The system's UUID or path. None: the only one there is.
        credential: User name and password. None: anonymous.
        verify_tls: Whether the BMC's certificate is checked, or a file of authorities to check it with.
        connect_timeout: Seconds for the connection.
        read_timeout: Seconds for the answer.
    """

    def __init__(
        self,
        node: str,
        address: str,
        system: str | None,
        credential: Credential | None,
        *,
        verify_tls: bool | str,
        connect_timeout: float,
        read_timeout: float,
    ) -> None:
        self._node = node
        self._address = address
        self._identity = system if system is None or system.startswith("/") else f"/redfish/v1/Systems/{system}"
        self._credential = credential
        # sushy repeats whatever does not get through, also a reset that may have been carried out; 1 is one attempt
        # (0 would be three), and lets a GET that failed with 5xx be repeated once, at once.
        self._connector = connector.Connector(
            address,
            verify=verify_tls,
            server_side_retries=1,
            server_side_retries_delay=0,
            default_request_timeout=read_timeout,
            connect_timeout=connect_timeout,
        )
        self._system: Any = None

    def read(self, extract: Callable[[Any], _T]) -> _T:
        """Load the system afresh and return what `extract` takes from it.

        A refused or broken connection and a 5xx answer are tried again twice within two seconds; a BMC that let the
        time pass without an answer is not asked again.
        """
        attempts = Retrying(
            retry=retry_if_exception_type((DriverUnreachable, DriverUnavailable)),
            stop=stop_after_attempt(_READ_ATTEMPTS),
            wait=wait_exponential(multiplier=0.5, max=1.0),
            reraise=True,
        )
        result: _T = attempts(self.read_once, extract)
        return result

    def read_once(self, extract: Callable[[Any], _T]) -> _T:
        """As `read`, but with one attempt."""
        with self._translated():
            if self._system is None:
                self._system = self._connect().get_system(self._identity)
            else:
                self._system.refresh(force=True)
            return extract(self._system)

    def change(self, request: Callable[[Any], object]) -> None:
        """Make one request that changes the system, with one attempt; `read` must have loaded it."""
        with self._translated():
            request(self._system)

    def error(self, kind: type[DriverError], reason: str, remedy: str = "") -> DriverError:
        """An error about this BMC."""
        return kind(self._node, self._address, reason, remedy)

    def close(self) -> None:
        """Close the connection."""
        self._system = None
        self._connector.close()

    def _connect(self) -> Any:
        if self._credential is None:
            return Sushy(self._address, auth=_Anonymous(), connector=self._connector)
        secret = auth.BasicAuth(self._credential.username, self._credential.password.get_secret_value())
        return Sushy(self._address, auth=secret, connector=self._connector)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exceptions.ConnectionError as error:
            raise self._no_answer(error) from error
        except exceptions.AccessError as error:
            reason = f"the BMC refuses the credentials (HTTP {error.status_code})"
            remedy = "check the credentials that driver_info names, and the user's rights on the BMC"
            raise self.error(DriverRejected, reason, remedy) from error
        except exceptions.HTTPError as error:
            kind = DriverUnavailable if isinstance(error, exceptions.ServerSideError) else DriverRejected
            raise self.error(kind, f"the BMC answers HTTP {error.status_code}: {error}") from error
        except exceptions.UnknownDefaultError as error:
            raise self.error(DriverRejected, "the BMC has not exactly one system", "name one with `system`") from error
        except exceptions.SushyError as error:
            raise self.error(DriverRejected, str(error)) from error
        except (ValueError, TypeError, AttributeError) as error:
            # What sushy lets through when the answer is no JSON, or no JSON object.
            raise self.error(DriverRejected, f"the BMC's answer is no Redfish document ({error})") from error
        except OSError as error:
            raise self.error(InvalidDriverInfo, f"verify_tls names a file that cannot be used ({error})") from error

    def _no_answer(self, error: Exception) -> DriverError:
        cause, root = error.__context__, _root(error)
        if isinstance(cause, requests.exceptions.ConnectTimeout):
            return self.error(DriverUnreachable, "the BMC does not take the connection in time")
        if isinstance(cause, requests.exceptions.Timeout):
            return self.error(DriverTimeout, "the BMC takes the request but does not answer in time")
        if isinstance(cause, requests.exceptions.SSLError):
            reason = f"the BMC's certificate is not trusted ({root})"
            return self.error(DriverUnreachable, reason, "give verify_tls the file of its authority, or false")
        return self.error(DriverUnreachable, f"no connection to the BMC ({root})")


def _root(error: BaseException) -> BaseException:
    """What it all began with: requests and urllib3 wrap the socket's error several times."""
    return _root(error.__context__) if error.__context__ else error
