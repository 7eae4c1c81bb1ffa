"""Nodes and subclouds."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _entry_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("driver", sa.String(64), nullable=False),
        sa.Column("driver_info", sa.JSON, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    ]


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "nodes",
        *_entry_columns(),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("power_state", sa.String(16)),
        sa.Column("target_power_state", sa.String(16)),
        sa.Column("boot_device", sa.String(32)),
        sa.Column("properties", sa.JSON, nullable=False),
        sa.Column("maintenance", sa.Boolean, nullable=False),
        sa.Column("maintenance_reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        sa.UniqueConstraint("name", name="uq_nodes_name"),
        sa.UniqueConstraint("uuid", name="uq_nodes_uuid"),
    )
    op.create_table(
        "subclouds",
        *_entry_columns(),
        sa.Column("managed", sa.Boolean, nullable=False),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.Double),
        sa.Column("claimed_by", sa.String(255)),
        sa.Column("lease_until", sa.Double),
        sa.Column("step", sa.String(64)),
        sa.Column("last_synced_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_subclouds"),
        sa.UniqueConstraint("name", name="uq_subclouds_name"),
        sa.CheckConstraint(
            "state IN ('none', 'requested', 'in-progress', 'completed', 'failed')", name=op.f("ck_subclouds_state")
        ),
    )
    op.create_index("ix_subclouds_state_next_attempt_at", "subclouds", ["state", "next_attempt_at"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("subclouds")
    op.drop_table("nodes")
