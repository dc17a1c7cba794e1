"""Alembic's environment: upgrades the database at the other end of a connection that it is given.

Executed by Alembic on each command of ``hpsearch.storage.revisions``.
"""

from __future__ import annotations

from alembic import context

from hpsearch.storage.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table only by copying it
    transactional_ddl=True,  # true of PostgreSQL and, with our BEGIN IMMEDIATE, of SQLite
)
with context.begin_transaction():
    context.run_migrations()
