"""The database's clock."""

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction


class server_now(GenericFunction[float]):  # noqa: N801 - named as SQL functions are
    """The database's clock as seconds since 1970 (float), in any SQLAlchemy statement.

    It goes on within a transaction. Resolution: a microsecond on PostgreSQL and MySQL, a millisecond on SQLite.
    """

    type = Double()
    inherit_cache = True


@compiles(server_now)
def _unknown(element: server_now, compiler: Any, **_: Any) -> str:
    raise NotImplementedError(f"server_now() isn't known for {compiler.dialect.name}")


@compiles(server_now, "postgresql")
def _postgresql(element: server_now, compiler: Any, **_: Any) -> str:
    return "extract(epoch FROM clock_timestamp())::double precision"


@compiles(server_now, "mysql")
@compiles(server_now, "mariadb")
def _mysql(element: server_now, compiler: Any, **_: Any) -> str:
    # SYSDATE moves within a statement, but only UTC is the same in summer and winter.
    return "(timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6)) / 1000000e0)"


@compiles(server_now, "sqlite")
def _sqlite(element: server_now, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"
