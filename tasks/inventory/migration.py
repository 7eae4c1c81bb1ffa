"""Brings a database to the schema that the code needs, through Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, text

_FOLDER = Path(__file__).with_name("migrations")

# Any number does, as long as nothing else in the database takes an advisory lock on it.
_UPGRADE_LOCK = 0x666C6565


class UnknownRevision(Exception):
    """The database carries a revision that this version of the code does not have."""


def current(connection: Connection) -> str | None:
    """The revision of the connected database, None when it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def pending(connection: Connection) -> list[str]:
    """The revisions that the connected database still lacks, oldest first.

    Raises:
        UnknownRevision: when a newer Fleetring migrated the database.
    """
    revision = current(connection)
    try:
        scripts = list(_scripts().iterate_revisions("head", revision or "base"))
    except (CommandError, RevisionError) as error:
        raise UnknownRevision(str(revision)) from error
    return [script.revision for script in reversed(scripts)]


def upgrade(connection: Connection) -> list[str]:
    """Migrate to the newest revision inside the caller's transaction, and return the revisions that were applied.

    Several processes may do so at once: on SQLite the caller's BEGIN IMMEDIATE admits one writer, on PostgreSQL an
    advisory lock of the transaction does (it works behind a transaction pooler, as a session's would not).

    Raises:
        UnknownRevision: when a newer Fleetring migrated the database.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    missing = pending(connection)
    if missing:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return missing


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
