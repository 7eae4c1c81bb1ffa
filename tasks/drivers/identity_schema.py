"""Makes identity tables that a database lacks, and refuses those that cannot hold the centre's rows."""

from collections.abc import Mapping

from sqlalchemy import Connection, inspect

from tasks.drivers.errors import DriverRejected
from tasks.drivers.identity_tables import metadata


def ensure_tables(target: str, connection: Connection) -> None:
    """Make the tables that are missing.

    Args:
        target: whose tables they are, for errors.
        connection: one to the database, in a transaction.

    Raises:
        DriverRejected: a table has another shape; nothing was made.
    """
    present = check_shapes(target, connection)
    missing = [table for table in metadata.sorted_tables if table.name not in present]
    if missing:
        metadata.create_all(connection, missing, checkfirst=False)


def check_shapes(target: str, connection: Connection) -> Mapping[str, set[str]]:
    """Return the columns of each identity table that is there.

    Raises:
        DriverRejected: naming each table that lacks columns, and these.
    """
    found = inspect(connection).get_multi_columns(filter_names=list(metadata.tables))
    present = {name: {column["name"] for column in columns} for (_schema, name), columns in found.items() if columns}
    lacking = {name: sorted(set(metadata.tables[name].columns.keys()) - columns) for name, columns in present.items()}
    if told := "; ".join(f"table {name} lacks {', '.join(names)}" for name, names in sorted(lacking.items()) if names):
        remedy = "it belongs to another service or version: give the subcloud a database of its own, or migrate it"
        raise DriverRejected(target, "", told, remedy)
    return present
