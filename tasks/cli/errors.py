"""What the command line does with errors: one sentence, and an exit status that a script can tell apart."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from locking import LockError, ResourceLocked, StoreError
from partitioning import GroupBackendError, PartitioningError
from tasks import settings
from tasks.admission import SILENCE
from tasks.drivers import DriverError
from tasks.errors import BrokerUnreachable, FleetringError, QuiesceTimeout
from tasks.inventory import DatabaseUnreachable, InventoryError
from tasks.transport import TransportError

#: Exit statuses. 2 is also click's for a wrong option; 130 is what shells make of Ctrl-C.
FAILED, WRONG_INPUT, UNREACHABLE, LOCKED, INTERRUPTED = 1, 2, 3, 4, 130


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
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    except ResourceLocked as error:
        raise failure(str(error), LOCKED) from error
    except (BrokerUnreachable, DatabaseUnreachable, GroupBackendError, StoreError) as error:
        raise failure(str(error), UNREACHABLE) from error
    except SILENCE as error:
        raise failure(str(BrokerUnreachable(settings.current().broker_url, error)), UNREACHABLE) from error
    except QuiesceTimeout as error:
        raise failure(str(error), FAILED) from error
    except (FleetringError, TransportError, InventoryError, DriverError, LockError, PartitioningError) as error:
        raise failure(str(error), WRONG_INPUT) from error
