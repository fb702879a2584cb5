"""Run by Alembic with the connection and the metadata that `provenance.database` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    transactional_ddl=True,  # on SQLite too: its transactions are begun by us, so its DDL can be rolled back
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
