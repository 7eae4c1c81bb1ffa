"""The three tables of locks."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.mysql import VARBINARY
from sqlalchemy.types import TypeEngine


class ExactText(TypeDecorator[str]):
    """Text kept as bytes: no collation folds case, strips blanks or refuses a NUL."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """MySQL wants a length where it builds an index."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(VARBINARY(800))
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """To the database."""
        return None if value is None else value.encode()

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """From the database."""
        return None if value is None else bytes(value).decode()


@dataclass(frozen=True, slots=True)
class Schema:
    """`names` has a row a name, for ever: its fence counter, and what a transaction locks to decide about the name.

    `requests` has a row for each holder and waiter, `claims` a row for each name of a request. Times are seconds since
    1970 by the database's clock.
    """

    metadata: MetaData
    names: Table
    requests: Table
    claims: Table


def schema(namespace: str) -> Schema:
    """The tables of one deployment, `<namespace>_names` and so on."""
    metadata = MetaData()
    options: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}
    names = Table(
        f"{namespace}_names",
        metadata,
        Column("name", ExactText, primary_key=True),
        Column("fence", BigInteger, nullable=False),
        Column("exclusive_fence", BigInteger, nullable=False),
        **options,
    )
    requests = Table(
        f"{namespace}_requests",
        metadata,
        Column("id", String(100), primary_key=True),
        Column("state", String(10), nullable=False),  # waiting, held, upgrading, silent
        Column("owner", ExactText, nullable=False),
        Column("session", String(100), nullable=False),
        Column("info", Text, nullable=False),
        Column("mailbox", String(100), nullable=False),
        Column("fence", BigInteger, nullable=False),
        Column("since", Double, nullable=False),  # of the grant, for max_hold
        Column("ends", Double, nullable=False),  # a holder's lease, a waiter's patience
        Column("arrival", Double, nullable=False),
        Column("score", Double, nullable=False),
        Column("lease", Double, nullable=False),
        Column("max_hold", Double),
        Column("lock_delay", Double, nullable=False),
        Column("patience", Double, nullable=False),
        Column("provisional", Double, nullable=False),
        Column("unconfirmed", Boolean, nullable=False),
        **options,
    )
    claims = Table(
        f"{namespace}_claims",
        metadata,
        Column("name", ExactText, primary_key=True),
        Column("request", String(100), primary_key=True),
        Column("mode", String(1), nullable=False),
        **options,
    )
    Index(f"{namespace}_claims_request", claims.c.request)
    Index(f"{namespace}_requests_owner", requests.c.owner)
    return Schema(metadata, names, requests, claims)
