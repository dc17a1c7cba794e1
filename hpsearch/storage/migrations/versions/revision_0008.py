"""Metrics of a user's own, beside the objective.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; a spec without such metrics is stored as ever."""
    op.add_column("metrics", sa.Column("others", sa.JSON(), nullable=True))
