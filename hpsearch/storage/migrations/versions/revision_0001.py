"""The first tables: searches, stages, trials, metrics, diagnoses, events.

Run by ``hpsearch db upgrade``, and on the first use of an empty database.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The types are those of the day, spelled out: hpsearch.storage.types may change, this may not.
INTEGER, BIG, TEXT, JSON = sa.Integer(), sa.BigInteger(), sa.Text(), sa.JSON()
REAL: sa.Double[float] = sa.Double()
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create all tables."""
    _searches()
    _stages()
    _trials()
    _metrics()
    _diagnoses()
    _events()


def _required(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _optional(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}")


def _searches() -> None:
    op.create_table(
        "searches",
        _required("id", INTEGER),
        _required("name", TEXT),
        _required("spec", JSON),
        _required("spec_hash", TEXT),
        _required("state", TEXT),
        _required("seed", BIG),
        _required("hpsearch_version", TEXT),
        _optional("git_commit", TEXT),
        _required("host", TEXT),
        _required("user", TEXT),
        _required("packages", JSON),
        _optional("lease_owner", JSON),
        _required("lease_token", BIG),
        _optional("lease_expires_at", TIME),
        _required("created_at", TIME),
        _optional("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_searches"),
    )
    op.create_index("ix_searches_name", "searches", ["name"])


def _stages() -> None:
    op.create_table(
        "stages",
        _required("id", INTEGER),
        _required("search_id", INTEGER),
        _required("position", INTEGER),
        _required("planned", INTEGER),
        _required("name", TEXT),
        _required("kind", TEXT),
        _required("epochs", INTEGER),
        _required("sampler", TEXT),
        _required("branches", JSON),
        _required("reasons", JSON),
        _required("state", TEXT),
        _required("created_at", TIME),
        _optional("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_stages"),
        _refers("stages", "search_id", "searches"),
        sa.UniqueConstraint("search_id", "position", name="uq_stages_search_id_position"),
    )


def _trials() -> None:
    op.create_table(
        "trials",
        _required("id", INTEGER),
        _required("search_id", INTEGER),
        _required("stage_id", INTEGER),
        _required("number", INTEGER),
        _required("branch", TEXT),
        _required("generation", INTEGER),
        _required("group", INTEGER),
        _required("params", JSON),
        _required("seed", BIG),
        _required("replicate", INTEGER),
        _required("start_epoch", INTEGER),
        _required("target_epochs", INTEGER),
        _optional("parent_id", INTEGER),
        _required("state", TEXT),
        _optional("failure_kind", TEXT),
        _optional("failure_message", TEXT),
        _optional("value", REAL),
        _optional("best_epoch", INTEGER),
        _required("epochs", INTEGER),
        _optional("checkpoint_file", TEXT),
        _optional("checkpoint_row", INTEGER),
        _required("checkpoint_epoch", INTEGER),
        _required("attempts", INTEGER),
        _required("seconds", REAL),
        _optional("worker", TEXT),
        _required("created_at", TIME),
        _optional("started_at", TIME),
        _optional("finished_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        _refers("trials", "search_id", "searches"),
        _refers("trials", "stage_id", "stages"),
        _refers("trials", "parent_id", "trials"),
        sa.UniqueConstraint("search_id", "number", name="uq_trials_search_id_number"),
    )
    op.create_index("ix_trials_search_id_state_value", "trials", ["search_id", "state", "value"])
    op.create_index("ix_trials_stage_id", "trials", ["stage_id"])
    op.create_index("ix_trials_parent_id", "trials", ["parent_id"])


def _metrics() -> None:
    op.create_table(
        "metrics",
        _required("trial_id", INTEGER),
        sa.Column("epoch", INTEGER, nullable=False, autoincrement=False),
        _optional("train_loss", REAL),
        _optional("train_accuracy", REAL),
        _optional("val_loss", REAL),
        _optional("val_accuracy", REAL),
        _optional("learning_rate", REAL),
        _optional("seconds", REAL),
        sa.PrimaryKeyConstraint("trial_id", "epoch", name="pk_metrics"),
        _refers("metrics", "trial_id", "trials"),
        sqlite_with_rowid=False,
    )


def _diagnoses() -> None:
    op.create_table(
        "diagnoses",
        _required("id", INTEGER),
        _required("search_id", INTEGER),
        _optional("trial_id", INTEGER),
        _optional("stage_id", INTEGER),
        _required("kind", TEXT),
        _required("message", TEXT),
        _required("evidence", JSON),
        _required("created_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_diagnoses"),
        _refers("diagnoses", "search_id", "searches"),
        _refers("diagnoses", "trial_id", "trials"),
        _refers("diagnoses", "stage_id", "stages"),
    )
    op.create_index("ix_diagnoses_search_id", "diagnoses", ["search_id"])


def _events() -> None:
    op.create_table(
        "events",
        _required("id", INTEGER),
        _required("search_id", INTEGER),
        _required("kind", TEXT),
        _required("data", JSON),
        _required("created_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        _refers("events", "search_id", "searches"),
    )
    op.create_index("ix_events_search_id", "events", ["search_id"])
