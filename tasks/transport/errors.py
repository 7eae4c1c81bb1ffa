"""What can go wrong with queues."""


class TransportError(Exception):
    """Anything that the transport refuses."""


class UnsupportedKombu(TransportError):
    """The installed kombu is not the minor version that the overrides fit."""


class NoSuchTask(TransportError, LookupError):
    """No task with this id waits (or, where said so, runs)."""


class DuplicateTask(TransportError, ValueError):
    """A task with this id lives already: it waits or runs."""
