"""Runs migrations on the connection that the caller opened; see `tasks.inventory.migration`."""

from alembic import context

from tasks.inventory.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
