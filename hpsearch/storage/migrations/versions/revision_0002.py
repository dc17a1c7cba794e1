"""Columns for all that is watched in training; the spread over folds; early stops; tasks, folds.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from hpsearch.storage.migrations.specs import rewrite_specs

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

METRICS = (
    "train_r2",
    "val_balanced_accuracy",
    "val_f1",
    "val_r2",
    "val_mae",
    "spread",
    "gradient_norm",
    "update_ratio",
    "dead_fraction",
    "saturated_fraction",
)
# What a spec says of its data since this revision; all before it were so.
DATA = {"task": "classification", "folds": None}


def upgrade() -> None:
    """Add columns, for what no old row has, and write old specs as they would be written today."""
    for name in METRICS:
        op.add_column("metrics", sa.Column(name, sa.Double(), nullable=True))
    op.add_column("metrics", sa.Column("layer_gradient_norms", sa.JSON(), nullable=True))
    op.add_column("trials", sa.Column("spread", sa.Double(), nullable=True))
    op.add_column(
        "trials",
        sa.Column("stopped_early", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    rewrite_specs(_complete)


def _complete(spec: dict[str, Any]) -> None:
    spec["data"] = {**spec["data"], **DATA}
