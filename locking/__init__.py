"""Exclusive and shared locks on names, fenced and leased, in Redis or SQL.

locks = LockManager.from_url("redis://localhost/0")
with locks.acquire(["node:7", "node:8"], wait=5.0, purpose="flash firmware") as lock:
    lock.fence      # larger than that of every earlier grant on these names
    lock.ensure()   # raises LockLost if the lock is gone
"""

from locking.decorators import locked, require_exclusive, set_default
from locking.errors import (
    AlreadyHeld,
    ExclusiveLockRequired,
    InvalidRequest,
    LockError,
    LockLost,
    LockOrderError,
    LockTimeout,
    ResourceLocked,
    StoreError,
    UpgradeConflict,
)
from locking.fencing import fenced
from locking.lock import Lock
from locking.manager import LockManager
from locking.modes import LockMode
from locking.records import Grant, Holder, LockState, Waiter
from locking.sql.time import server_now

__all__ = [
    "AlreadyHeld",
    "ExclusiveLockRequired",
    "Grant",
    "Holder",
    "InvalidRequest",
    "Lock",
    "LockError",
    "LockLost",
    "LockManager",
    "LockMode",
    "LockOrderError",
    "LockState",
    "LockTimeout",
    "ResourceLocked",
    "StoreError",
    "UpgradeConflict",
    "Waiter",
    "fenced",
    "locked",
    "require_exclusive",
    "server_now",
    "set_default",
]
