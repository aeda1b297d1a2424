"""What Alembic runs: migrate the database behind the connection that `beliefd_gateway.database` hands over."""

from __future__ import annotations

from alembic import context

from beliefd_gateway.tables import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema,
    # SQLite's DDL is transactional too, though Alembic does not count on it: a kill leaves no half of a migration.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
