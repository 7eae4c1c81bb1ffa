"""Connections and transactions: the right isolation, errors with names, and another try after a deadlock."""

import random
import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from locking.errors import InvalidRequest, StoreError

T = TypeVar("T")

TRIES = 8
# Deadlock, serialisation failure, lock not available; PostgreSQL, then MySQL and Galera, where it may come at COMMIT.
_AGAIN_STATES = frozenset({"40001", "40P01", "55P03"})
_AGAIN_NUMBERS = frozenset({1213, 1205, 1020})

# What PostgreSQL and MySQL say when they take no writes, and when there is no room; SQLite says it in words.
_READ_ONLY: frozenset[object] = frozenset({"25006", 1290, 1792, 1836})
_FULL: frozenset[object] = frozenset({"53100", "53200", 1021, 1114})

_ENGINE: dict[str, Any] = {"enable_from_linting": False}  # the ledger joins one row with none on purpose


class Again(Exception):
    """The transaction has to start anew, with more in its hands."""


def make_engine(url: str) -> Engine:
    """An engine without session state: it works behind a pooler that hands out connections by the transaction.

    Raises:
        InvalidRequest: The address can't be read, its driver is missing, or it names a database in memory.
    """
    try:
        address = make_url(url)
        if address.get_backend_name() == "sqlite":
            return _sqlite(address)
        options: dict[str, Any] = {"isolation_level": "READ COMMITTED", "pool_recycle": 1800} | _ENGINE
        if address.get_backend_name() == "postgresql" and address.get_driver_name() == "psycopg":
            options["connect_args"] = {"prepare_threshold": None}  # a prepared statement is session state
        return create_engine(address, **options)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise InvalidRequest(f"the lock address can't be used: {error}") from error


def _sqlite(address: URL) -> Engine:
    if not address.database or address.database == ":memory:":
        raise InvalidRequest("a SQLite database in memory can't be shared: give a file, sqlite:///locks.db")
    engine = create_engine(address, connect_args={"timeout": 5.0}, **_ENGINE)

    @event.listens_for(engine, "connect")
    def _no_implicit_begin(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class Done(NamedTuple, Generic[T]):
    """What a transaction gave, and whether an earlier try, whose reply was lost, may have done its work already."""

    value: T
    resent: bool


def transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Do `work` in one transaction, again if the database asks for it.

    Raises:
        StoreError: The database can't be reached, or refuses.
    """
    return send(engine, work).value


def send(engine: Engine, work: Callable[[Connection], T]) -> Done[T]:
    """As `transact`, for work that has to know whether it may have been done before."""
    resent = False
    for attempt in range(1, TRIES + 1):
        try:
            with engine.begin() as connection:
                return Done(work(connection), resent)
        except Again:
            continue
        except SQLAlchemyError as error:
            if attempt == TRIES or not _worth_another_try(error):
                raise _named(engine, error) from error
            resent |= isinstance(error, DBAPIError) and error.connection_invalidated
            time.sleep(random.uniform(0.0, 0.01 * 2**attempt))  # noqa: S311 - spreads, isn't secret
    raise StoreError(f"locks in {_address(engine)}: too much changes at once; try again")


def _worth_another_try(error: SQLAlchemyError) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    original: Any = error.orig
    return (
        error.connection_invalidated
        or getattr(original, "sqlstate", None) in _AGAIN_STATES
        or bool(_AGAIN_NUMBERS & set(getattr(original, "args", ())[:1]))
        or "database is locked" in str(original)
    )


def _named(engine: Engine, error: SQLAlchemyError) -> StoreError:
    cause = getattr(error, "orig", None) or error
    return StoreError(
        f"locks in {_address(engine)}: {type(cause).__name__}: {' '.join(str(cause).split())}; {_advice(cause)}"
    )


def _advice(cause: Any) -> str:
    codes, text = {getattr(cause, "sqlstate", None), *cause.args[:1]}, str(cause)
    if codes & _READ_ONLY or "readonly" in text:
        return "it takes no writes: give the address of the primary, and a user who may write"
    if codes & _FULL or "disk is full" in text:
        return "it has no room left: nothing was taken; make room"
    return "check that the database runs, that the address is right, and that its user may write"


def _address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
