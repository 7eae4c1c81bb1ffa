"""Rotation of the centre's keys, staged so that no subcloud meets a token of a key that it does not have.

A key is distributed while it is only staged. It becomes the primary one when every subcloud that follows the centre was
found, by an audit, to have the present keys; so nobody refuses what it then encrypts, and old tokens stay valid.
"""

from collections.abc import Callable, Sequence
from time import monotonic, sleep

from tasks import audit
from tasks.app import app
from tasks.drivers import subcloud_drivers
from tasks.drivers.central_keys import Key
from tasks.drivers.central_keys import keys as keys_of
from tasks.drivers.central_keys import rotate as rotate_keys
from tasks.errors import KeysNotEverywhere
from tasks.inventory import audit_rows

#: Seconds between two looks at how far a distribution has come.
PAUSE = 0.5


def list_() -> list[Key]:
    """The centre's keys, the primary one first."""
    return keys_of(app.settings.identity_url)


def lacking() -> Sequence[str]:
    """The subclouds that follow the centre and were not found to have its present keys, by name."""
    app.runtime.centre.forget()
    names: list[str] = []
    with app.runtime.database.reading() as session:
        for driver in audit_rows.drivers_that_follow(session):
            kind = subcloud_drivers.load(driver)
            names += audit_rows.without_keys(session, driver, kind.keys_of(kind.central_digest(app.runtime.centre)))
    return sorted(names)


def rotate(*, force: bool = False) -> list[Key]:
    """Rotate the keys, have them distributed, and return those there are then, the primary one first.

    Args:
        force: do so although subclouds lack the present keys. Defaults to False.

    Raises:
        KeysNotEverywhere: some subclouds lack the present keys; nothing was changed.
        ResourceLocked: another rotation is under way.
    """
    with app.runtime.locks.acquire("keys", lease=app.settings.lock_lease, purpose="key rotation"):
        if not force and list_() and (names := lacking()):
            raise KeysNotEverywhere(names)
        rotated = rotate_keys(app.settings.identity_url, max_active=app.settings.max_active_keys)
    app.runtime.centre.forget()
    # For so long a worker may still use the keys that it read before.
    audit.request(delay=app.settings.centre_ttl)
    return rotated


def wait_until_everywhere(timeout: float, watch: Callable[[int], object]) -> None:
    """Have the subclouds audited that lack the present keys, and wait until none does.

    Args:
        timeout: seconds, at the most.
        watch: called with the number of those that lack them, again and again.

    Raises:
        KeysNotEverywhere: the time is over.
    """
    deadline = monotonic() + timeout
    names = lacking()
    audit.request(names, delay=app.settings.centre_ttl)
    while names:
        watch(len(names))
        if monotonic() >= deadline:
            raise KeysNotEverywhere(names)
        sleep(PAUSE)
        names = lacking()
    watch(0)
