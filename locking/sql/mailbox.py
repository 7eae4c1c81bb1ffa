"""LISTEN and NOTIFY: PostgreSQL tells a process of its grants."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Engine, PoolProxiedConnection, func, select
from sqlalchemy.exc import SQLAlchemyError

from locking.errors import StoreError
from locking.sql.engine import transact
from locking.sql.ledger import channel

SLICE = 20.0  # seconds of one wait
TRIAL = 2.0  # seconds within which a message to oneself has to arrive


class PostgresMailbox:
    """A connection of its own that listens on the channel of one process."""

    def __init__(self, engine: Engine, connection: PoolProxiedConnection, address: str) -> None:
        self._engine = engine
        self._connection = connection
        self._driver: Any = connection.driver_connection
        self._channel = channel(address)

    @classmethod
    def open(cls, engine: Engine, address: str) -> "PostgresMailbox | None":
        """Listen from now on; None where the database, its driver or a pooler on the way can't tell."""
        if engine.dialect.name != "postgresql" or engine.driver != "psycopg":
            return None
        try:
            connection = engine.raw_connection()
        except SQLAlchemyError as error:
            raise _cant_listen(error) from error
        mailbox = cls(engine, connection, address)
        connection.detach()  # it never goes back to the pool
        hears = False
        try:
            mailbox.listen()
            mailbox.wake()
            hears = bool(mailbox.receive(TRIAL))  # behind a pooler that shares connections nothing ever arrives
        finally:
            if not hears:
                mailbox.close()
        return mailbox if hears else None

    def listen(self) -> None:
        """Subscribe to the channel."""
        try:
            self._driver.autocommit = True
            self._driver.execute(f'LISTEN "{self._channel}"')
        except _driver_error(self._engine) as error:
            raise _cant_listen(error) from error

    def receive(self, timeout: float) -> Sequence[str]:
        """See `Mailbox`."""
        try:
            return [told.payload for told in self._driver.notifies(timeout=min(timeout, SLICE), stop_after=1)]
        except _driver_error(self._engine) as error:
            raise _cant_listen(error) from error

    def wake(self) -> None:
        """See `Mailbox`."""
        transact(self._engine, lambda connection: connection.execute(select(func.pg_notify(self._channel, ""))))

    def close(self) -> None:
        """See `Mailbox`."""
        self._connection.close()


def _cant_listen(error: Exception) -> StoreError:
    return StoreError(f"can't listen for grants of locks: {error}")


def _driver_error(engine: Engine) -> type[Exception]:
    return cast("type[Exception]", engine.dialect.loaded_dbapi.Error)
