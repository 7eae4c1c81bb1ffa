"""What the command line does with errors: one sentence, and an exit status that a script can tell apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import click
import redis
from kombu.exceptions import OperationalError as BrokerError
from kombu.utils.url import maybe_sanitize_url

from locking import LockError, ResourceLocked, StoreError
from partitioning import GroupBackendError, PartitioningError
from tasks import settings
from tasks.drivers import DriverError
from tasks.errors import FleetringError
from tasks.inventory import DatabaseUnreachable, InventoryError

#: Exit statuses. 2 is also click's for a wrong option.
FAILED, WRONG_INPUT, UNREACHABLE, LOCKED = 1, 2, 3, 4


def failure(message: str, status: int) -> click.ClickException:
    """Return an error whose text is for people and whose exit status is for scripts."""
    error = click.ClickException(message)
    error.exit_code = status  # type: ignore[misc]  # click reads it from the instance
    return error


@contextmanager
def explained() -> Iterator[None]:
    """Turn every error that Fleetring knows into one that click prints without a traceback."""
    try:
        yield
    except ResourceLocked as error:
        raise failure(str(error), LOCKED) from error
    except (DatabaseUnreachable, StoreError, GroupBackendError) as error:
        raise failure(str(error), UNREACHABLE) from error
    except (redis.ConnectionError, redis.TimeoutError, BrokerError) as error:
        raise failure(_broker_is_silent(error), UNREACHABLE) from error
    except (FleetringError, InventoryError, DriverError, LockError, PartitioningError) as error:
        raise failure(str(error), WRONG_INPUT) from error


def _broker_is_silent(error: Exception) -> str:
    address = maybe_sanitize_url(settings.current().broker_url)
    scheme = urlsplit(address).scheme
    return (
        f"the broker {address} does not answer: {error}. Start {scheme} there, or a private one with `fleetring up`, "
        "or change the setting broker_url (FLEETRING_BROKER_URL)"
    )
