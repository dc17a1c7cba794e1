"""What the service keeps of a search: its priority, orders, Ray job, why it ended. Budgets.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What a spec says since this revision; no search before it had a limit.
SPEC = {
    "budget": {"epochs": None, "trials": None, "wall_time": None, "gpu_hours": None},
    "max_failures": 20,
}
SEARCHES = sa.table(
    "searches",
    sa.column("id", sa.Integer()),
    sa.column("spec", sa.JSON()),
    sa.column("spec_hash", sa.Text()),
)
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
    _complete_specs()


def _complete_specs() -> None:
    """By its hash the same spec is found again: a search begun before can be gone on with."""
    connection = op.get_bind()
    rows = connection.execute(sa.select(SEARCHES.c.id, sa.cast(SEARCHES.c.spec, sa.Text()))).all()
    for id, text in rows:
        spec = {**json.loads(text), **SPEC}
        digest = hashlib.sha256(json.dumps(spec).encode()).hexdigest()
        connection.execute(
            sa.update(SEARCHES).where(SEARCHES.c.id == id).values(spec=spec, spec_hash=digest)
        )
