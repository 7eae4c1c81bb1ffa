"""What a process holds open for its tasks: the inventory, the locks, the credentials."""

import os
from functools import cached_property

from locking import LockManager
from tasks import settings
from tasks.drivers import Credentials
from tasks.inventory import Database


class Runtime:
    """Opens each resource at its first use, once a process; a forked child opens its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @cached_property
    def _database(self) -> Database:
        return Database(settings.current().database_url)

    @cached_property
    def locks(self) -> LockManager:
        """The lock manager, which notices a fork by itself; holders are leases of this process."""
        return LockManager.from_url(settings.current().lock_url)

    @cached_property
    def credentials(self) -> Credentials:
        """Where drivers look up user names and passwords."""
        found = settings.current()
        return Credentials.load(found.credentials_file, found.bmc_username, found.bmc_password)

    @property
    def database(self) -> Database:
        """The inventory."""
        self._notice_fork()
        return self._database

    def _notice_fork(self) -> None:
        """Leave the parent's connections alone: to close one here would end it there."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            if "_database" in self.__dict__:
                self._database.after_fork()

    def close(self) -> None:
        """Close what this process opened; a later use opens it again."""
        self._notice_fork()
        for name in ("_database", "locks"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
