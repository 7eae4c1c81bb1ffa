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
    def _locks(self) -> LockManager:
        return LockManager.from_url(settings.current().lock_url)

    @cached_property
    def credentials(self) -> Credentials:
        """Where drivers look up user names and passwords."""
        found = settings.current()
        return Credentials.load(found.credentials_file, found.bmc_username, found.bmc_password)

    @property
    def database(self) -> Database:
        """The inventory."""
        self._forget_after_fork()
        return self._database

    @property
    def locks(self) -> LockManager:
        """The lock manager; holders are leases of this process."""
        self._forget_after_fork()
        return self._locks

    def _forget_after_fork(self) -> None:
        """Leave the parent's connections alone: they are the parent's."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            for name in ("_database", "_locks"):
                self.__dict__.pop(name, None)

    def close(self) -> None:
        """Close what this process opened; a later use opens it again."""
        for name in ("_database", "_locks"):
            opened = self.__dict__.pop(name, None)
            if opened is not None and self._pid == os.getpid():
                opened.close()
