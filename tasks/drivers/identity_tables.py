"""The tables of a cloud's identity service, as far as they follow the centre, and of its audit.

They are modelled on OpenStack Keystone's, each entity in one table. Rows refer to each other without foreign keys, as
they do there.
"""

from sqlalchemy import Boolean, Column, Double, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("domain_id", String(64), nullable=False),
    Column("password_hash", String(255)),
    Column("default_project_id", String(64)),
    Column("enabled", Boolean, nullable=False),
    Column("extra", Text, nullable=False),
    UniqueConstraint("domain_id", "name", name="uq_users_domain_id_name"),
)

groups = Table(
    "groups",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("domain_id", String(64), nullable=False),
    Column("description", Text, nullable=False),
    UniqueConstraint("domain_id", "name", name="uq_groups_domain_id_name"),
)

projects = Table(
    "projects",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("domain_id", String(64), nullable=False),
    Column("parent_id", String(64)),
    Column("enabled", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    UniqueConstraint("domain_id", "name", name="uq_projects_domain_id_name"),
)

roles = Table(
    "roles",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("domain_id", String(64), nullable=False),
    UniqueConstraint("domain_id", "name", name="uq_roles_domain_id_name"),
)

assignments = Table(
    "assignments",
    metadata,
    Column("type", String(16), primary_key=True),
    Column("actor_id", String(64), primary_key=True),
    Column("target_id", String(64), primary_key=True),
    Column("role_id", String(64), primary_key=True),
    Column("inherited", Boolean, primary_key=True),
)

fernet_keys = Table(
    "fernet_keys",
    metadata,
    Column("key_index", Integer, primary_key=True, autoincrement=False),
    Column("body", String(255), nullable=False),
    Column("created_at", Double, nullable=False),
)

audit = Table(
    "sync_audit",
    metadata,
    Column("resource_type", String(64), primary_key=True),
    Column("last_audit_at", Double),
    Column("findings", Integer, nullable=False),
)

control = Table(
    "sync_control",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("enabled", Boolean, nullable=False),
)

IDENTITY = (users, groups, projects, roles, assignments)
"""What `sync_identity` replicates, in this order: an assignment comes after all that it refers to."""

KEYS = (fernet_keys,)
"""What `distribute_keys` replicates."""

MUST_NOT_BE_EMPTY = frozenset({"users", "projects", "roles", "fernet_keys"})
"""Tables that have rows in every working centre; a cloud without groups or assignments is legal."""
