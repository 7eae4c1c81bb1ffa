"""What the power sync remembers of a node: looks without an answer, changes that nobody asked for, and its alarm."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS = ("power_failures", "power_changes", "power_changes_since", "alarm")


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("nodes") as table:
        table.add_column(sa.Column("power_failures", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("power_changes", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("power_changes_since", sa.Double))
        table.add_column(sa.Column("alarm", sa.Text))


def downgrade() -> None:
    """Drop the columns."""
    with op.batch_alter_table("nodes") as table:
        for column in _COLUMNS:
            table.drop_column(column)
