"""What audits found of subclouds."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "subcloud_audits",
        sa.Column("subcloud_id", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tables", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("keys", sa.String(64)),
        sa.Column("next_at", sa.Double, nullable=False),
        sa.Column("audited_at", sa.Double),
        sa.PrimaryKeyConstraint("subcloud_id", name="pk_subcloud_audits"),
        sa.ForeignKeyConstraint(
            ["subcloud_id"], ["subclouds.id"], name="fk_subcloud_audits_subcloud_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "state IN ('unknown', 'in-sync', 'out-of-sync', 'failed')", name=op.f("ck_subcloud_audits_state")
        ),
    )
    op.create_index("ix_subcloud_audits_next_at", "subcloud_audits", ["next_at"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("subcloud_audits")
