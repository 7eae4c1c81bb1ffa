"""What a process holds open for its tasks: the inventory, the locks, the credentials."""

import os
from functools import cached_property

from locking import LockManager
from tasks import settings
from tasks.drivers import Centre, Credentials
from tasks.holders import current_holder
from tasks.inventory import Database
from tasks.parking import OpenQueues, locks_of_tasks
from tasks.storm import Budget, Client, Gate


class Runtime:
    """Opens each resource at its first use, once a process; a forked child opens its own.

    Args:
        broker: opens a client of the broker's server.
        queues: opens the queues, to which tasks go back when the locks that they wait for are granted to them.
    """

    def __init__(self, broker: Client, queues: OpenQueues) -> None:
        self._broker = broker
        self._queues = queues
        self._pid = os.getpid()

    @cached_property
    def _database(self) -> Database:
        return Database(settings.current().database_url)

    @cached_property
    def locks(self) -> LockManager:
        """The lock manager, which notices a fork by itself; a running task is an owner of its own."""
        return locks_of_tasks(settings.current().lock_url, self._queues, asker=current_holder)

    @cached_property
    def credentials(self) -> Credentials:
        """Where drivers look up user names and passwords."""
        found = settings.current()
        return Credentials.load(found.credentials_file, found.bmc_username, found.bmc_password)

    @cached_property
    def centre(self) -> Centre:
        """What subclouds are to follow, behind a gate that all processes share."""
        found = settings.current()
        budget = Budget(found.centre_rate, found.centre_burst, found.centre_concurrency)
        gate = Gate("identity", self._broker, budget)
        return Centre(found.identity_url, found.centre_ttl, gate.passage)

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
        self.__dict__.pop("centre", None)
        for name in ("_database", "locks"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
