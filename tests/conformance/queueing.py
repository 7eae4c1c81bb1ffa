from locking import LockManager
from tests.processes import wait_until


def queued(locks: LockManager, name: str, count: int) -> None:
    """Wait until so many stand in the queue."""
    wait_until(lambda: len(locks.waiters(name)) == count)
