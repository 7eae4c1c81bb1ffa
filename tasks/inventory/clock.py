"""The database's own clock as a SQL expression."""

from typing import Any

from sqlalchemy import Double, FunctionElement
from sqlalchemy.ext.compiler import compiles


class server_now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function that it is
    """Seconds since the epoch by the database's clock."""

    type = Double()
    inherit_cache = True


@compiles(server_now, "sqlite")
def _sqlite(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(server_now, "postgresql")
def _postgresql(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
