"""What can go wrong with queues."""


class TransportError(Exception):
    """Anything that the transport refuses."""


class UnsupportedKombu(TransportError):  # noqa: N818 - reads as what it says
    """The installed kombu is not the minor version that the overrides fit."""


class NoSuchTask(TransportError, LookupError):  # noqa: N818 - the name that callers of a work pool know
    """No task with this id waits (or, where said so, runs)."""


class DuplicateTask(TransportError, ValueError):  # noqa: N818 - as above
    """A task with this id lives already: it waits or runs."""
