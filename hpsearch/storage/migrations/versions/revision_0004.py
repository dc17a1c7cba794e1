"""What the service keeps of a search: its priority, orders, Ray job, why it ended. Budgets.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from hpsearch.storage.migrations.specs import rewrite_specs

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What a spec says since this revision; no search before it had a limit.
SPEC = {
    "budget": {"epochs": None, "trials": None, "wall_time": None, "gpu_hours": None},
    "max_failures": 20,
}
WAITING = sa.text("served AND state IN ('submitted', 'running')")


def upgrade() -> None:
    """Add columns, and write old specs as they would be today; none was the service's."""
    none, no = sa.text("0"), sa.false()
    for column in (
        sa.Column("priority", sa.Integer(), nullable=False, server_default=none),
        sa.Column("served", sa.Boolean(), nullable=False, server_default=no),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("workers", sa.Integer(), nullable=True),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
    ):
        op.add_column("searches", column)
    op.create_index(
        "ix_searches_priority_id",
        "searches",
        ["priority", "id"],
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    rewrite_specs(_complete)


def _complete(spec: dict[str, Any]) -> None:
    spec |= SPEC
