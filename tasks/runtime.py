"""What a process holds open for its tasks: the inventory, the locks, the credentials."""

import os
from collections.abc import Callable
from functools import cached_property

from locking import LockManager
from tasks.drivers import Credentials
from tasks.inventory import Database
from tasks.settings import Settings


class Runtime:
    """Opens each resource at its first use, once a process; a forked child opens its own.

    Args:
        read_settings: returns the settings; called at the first use.
    """

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        self._read_settings = read_settings
        self._pid = os.getpid()

    @property
    def settings(self) -> Settings:
        """The settings of the process."""
        return self._read_settings()

    @cached_property
    def _database(self) -> Database:
        return Database(self.settings.database_url)

    @cached_property
    def _locks(self) -> LockManager:
        return LockManager.from_url(self.settings.lock_url)

    @cached_property
    def credentials(self) -> Credentials:
        """Where drivers look up user names and passwords."""
        settings = self.settings
        return Credentials.load(settings.credentials_file, settings.bmc_username, settings.bmc_password)

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
