"""SQLite uses the id of a search never again, as PostgreSQL does not either.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Copy SQLite's table into one that counts on; nothing in it changes."""
    if op.get_bind().dialect.name == "sqlite":
        autoincrement = {"sqlite_autoincrement": True}
        with op.batch_alter_table("searches", recreate="always", table_kwargs=autoincrement):
            pass
