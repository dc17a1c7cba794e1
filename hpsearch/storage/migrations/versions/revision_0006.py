"""Notices: that a search of the service has ended is to be told. Checkpoints that are kept.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from hpsearch.storage.migrations.specs import rewrite_specs

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEPT = 10  # what a spec says of the best trials' checkpoints, if it says nothing
TO_TELL = sa.text("notice_at IS NOT NULL")


def upgrade() -> None:
    """Add columns, and write old specs as they would be today; what has ended is not told."""
    op.add_column("searches", sa.Column("notice_at", sa.DateTime(timezone=True), nullable=True))
    tries = sa.Column("notice_tries", sa.Integer(), nullable=False, server_default=sa.text("0"))
    op.add_column("searches", tries)
    op.create_index(
        "ix_searches_notice_at",
        "searches",
        ["notice_at"],
        sqlite_where=TO_TELL,
        postgresql_where=TO_TELL,
    )
    rewrite_specs(_complete)


def _complete(spec: dict[str, Any]) -> None:
    spec["resources"]["keep_checkpoints"] = KEPT
