"""Settings for as long as a test lasts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.app import app
from tasks.settings import ENV_PREFIX, Settings


@contextmanager
def using(**values: object) -> Iterator[Settings]:
    """Give this process, and what it starts, the settings `values`, by the environment; take them back at the end.

    What the environment set before counts for nothing meanwhile; ``fleetring.toml`` in the current folder counts for
    what is not among `values`.

    Args:
        values: settings by name; those that are lists are comma-separated texts.

    Raises:
        SettingsError: a setting is unknown or impossible.
    """
    before = _take_out()
    os.environ.update({f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in values.items()})
    try:
        app.reconfigure()
        yield app.settings
    finally:
        _take_out()
        os.environ.update(before)
        app.reconfigure()


def _take_out() -> dict[str, str]:
    names = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    return {name: os.environ.pop(name) for name in names}
