"""Alembic's entry: runs the steps on the connection that `upgrade` hands over, inside that connection's transaction."""

from __future__ import annotations

from alembic import context

from springtide.ledger.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
