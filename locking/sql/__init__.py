"""Locks in SQL: PostgreSQL, MySQL and MariaDB, SQLite, through SQLAlchemy Core."""

from locking.sql.store import SqlStore

__all__ = ["SqlStore"]
