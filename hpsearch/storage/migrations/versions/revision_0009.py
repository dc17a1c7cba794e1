"""Code that travels with a submitted search.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table; no search has code by now."""
    op.create_table(
        "code",
        sa.Column("search_id", sa.Integer(), sa.ForeignKey("searches.id"), primary_key=True),
        sa.Column("zipped", sa.LargeBinary(), nullable=False),
    )
