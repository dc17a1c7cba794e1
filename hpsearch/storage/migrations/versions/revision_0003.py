"""Rungs (to which epoch a trial trains, its value in each fold), how groups are trained, speeds.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from hpsearch.storage.migrations.specs import rewrite_specs

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INTEGER, TEXT = sa.Integer(), sa.Text()
TIME = sa.DateTime(timezone=True)
OLD_WIDTH = 128  # what a spec said that left resources.width out
COMPLETE = sa.text("state = 'complete'")
TRIALS = sa.table(
    "trials",
    *map(sa.column, ("search_id", "group", "attempts", "started_at", "created_at")),
    *map(sa.column, ("target_epochs", "until_epoch")),
)


def upgrade() -> None:
    """Add columns and tables, and write old specs as they would be written today.

    Old trials have no rungs: they train to their target. Old groups that have begun go on as they
    began: all rows at once.
    """
    op.add_column(
        "trials", sa.Column("until_epoch", INTEGER, nullable=False, server_default=sa.text("0"))
    )
    op.execute(sa.update(TRIALS).values(until_epoch=TRIALS.c.target_epochs))
    op.add_column("metrics", sa.Column("by_fold", sa.JSON(), nullable=True))
    _index_complete_trials()
    _groups()
    _speeds()
    rewrite_specs(_complete)


def _index_complete_trials() -> None:
    """In the place of an index of all trials, in which each report moved its own."""
    op.drop_index("ix_trials_search_id_state_value", "trials")
    op.create_index(
        "ix_trials_search_id_value",
        "trials",
        ["search_id", "value"],
        sqlite_where=COMPLETE,
        postgresql_where=COMPLETE,
    )


def _groups() -> None:
    table = op.create_table(
        "groups",
        sa.Column("search_id", INTEGER, nullable=False),
        sa.Column("number", INTEGER, nullable=False, autoincrement=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("device", TEXT, nullable=False),
        sa.Column("start_epoch", INTEGER, nullable=False),
        sa.Column("measures", sa.Boolean(), nullable=False),
        sa.Column("width", INTEGER, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("search_id", "number", name="pk_groups"),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name="fk_groups_search_id"),
    )
    op.execute(sa.insert(table).from_select(list(table.c.keys()), _begun_groups()))


def _begun_groups() -> sa.Select[Any]:
    """Of what kind they are, and on which device they began, nobody has noted."""
    column = TRIALS.c
    return (
        sa.select(
            column.search_id,
            column.group,
            sa.literal("groups of an older version"),
            sa.literal("an unknown device"),
            sa.literal(0),
            sa.false(),
            sa.cast(sa.null(), INTEGER),
            sa.func.min(sa.func.coalesce(column.started_at, column.created_at)),
        )
        .where(column.attempts > 0)
        .group_by(column.search_id, column.group)
    )


def _speeds() -> None:
    op.create_table(
        "speeds",
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("device", TEXT, nullable=False),
        sa.Column("width", INTEGER, nullable=False, autoincrement=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("kind", "device", "width", name="pk_speeds"),
    )


def _complete(spec: dict[str, Any]) -> None:
    spec["stages"] = [_with_pruner(stage) for stage in spec["stages"]]
    if spec["resources"]["width"] == OLD_WIDTH:
        spec["resources"]["width"] = "auto"


def _with_pruner(stage: dict[str, Any]) -> dict[str, Any]:
    """None, in its place: the hash is of the keys in their order."""
    after = {name: stage.pop(name) for name in ("top", "seeds")}
    return {**stage, "pruner": None, **after}
