"""What an initial sync remembers beyond its state: why it failed, that it was given up, and that it was done before."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_COLUMNS = ("failure", "unreachable", "parked_at", "subsequent_sync")


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("subclouds") as table:
        table.add_column(sa.Column("failure", sa.String(32)))
        table.add_column(sa.Column("unreachable", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("parked_at", sa.Double))
        table.add_column(sa.Column("subsequent_sync", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drop the columns."""
    with op.batch_alter_table("subclouds") as table:
        for column in _COLUMNS:
            table.drop_column(column)
