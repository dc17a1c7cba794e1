"""Notices: that a search of the service has ended is to be told. Checkpoints that are kept.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEPT = 10  # what a spec says of the best trials' checkpoints, if it says nothing
SEARCHES = sa.table(
    "searches",
    sa.column("id", sa.Integer()),
    sa.column("spec", sa.JSON()),
    sa.column("spec_hash", sa.Text()),
)
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
    _complete_specs()


def _complete_specs() -> None:
    """By its hash the same spec is found again: a search begun before can be gone on with."""
    connection = op.get_bind()
    rows = connection.execute(sa.select(SEARCHES.c.id, sa.cast(SEARCHES.c.spec, sa.Text()))).all()
    for id, text in rows:
        spec = json.loads(text)
        spec["resources"]["keep_checkpoints"] = KEPT
        digest = hashlib.sha256(json.dumps(spec).encode()).hexdigest()
        connection.execute(
            sa.update(SEARCHES).where(SEARCHES.c.id == id).values(spec=spec, spec_hash=digest)
        )
