"""Values of searches that were made elsewhere; a prior search that a spec names.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from hpsearch.storage.migrations.specs import rewrite_specs

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, and write old specs as they would be today: they name no prior search."""
    op.add_column("metrics", sa.Column("value", sa.Double(), nullable=True))
    rewrite_specs(_complete)


def _complete(spec: dict[str, Any]) -> None:
    spec["prior"] = None
