"""Views for people who read the database with SQL; docs/analysis.md has their columns.

Run by ``hpsearch db upgrade``, and on the first use of an empty database. A later revision that
alters a table of theirs drops them first: SQLite alters none that a view reads.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What a dialect has its own words for: the good direction of a search, and that a number is one.
_MODE = {
    "sqlite": "json_extract(s.spec, '$.objective.mode')",
    "postgresql": "s.spec -> 'objective' ->> 'mode'",
}
_IS_NUMBER = {"sqlite": "typeof(t.value) = 'real'", "postgresql": "t.value <> 'NaN'"}

_BEST_TRIALS = """
CREATE VIEW best_trials AS
SELECT
    s.id AS search, s.name AS name,
    row_number() OVER (
        PARTITION BY s.id
        ORDER BY CASE WHEN {mode} = 'max' THEN -t.value ELSE t.value END, t.number
    ) AS rank,
    t.number AS number, t.value AS value, t.spread AS spread, t.best_epoch AS best_epoch,
    t.epochs AS epochs, g.name AS stage, t.branch AS branch, t.seconds AS seconds,
    t.params AS params, t.id AS trial
FROM trials t
JOIN searches s ON s.id = t.search_id
JOIN stages g ON g.id = t.stage_id
WHERE t.state = 'complete' AND {is_number}
AND NOT EXISTS (SELECT 1 FROM trials c WHERE c.parent_id = t.id AND c.start_epoch > 0)
"""
_TRIAL_CURVES = """
CREATE VIEW trial_curves AS
SELECT
    t.search_id AS search, t.number AS number, m.epoch AS epoch,
    m.train_loss, m.train_accuracy, m.train_r2, m.val_loss, m.val_accuracy,
    m.val_balanced_accuracy, m.val_f1, m.val_r2, m.val_mae, m.value AS value, m.spread AS spread,
    m.learning_rate, m.gradient_norm, m.update_ratio, m.dead_fraction, m.saturated_fraction,
    m.seconds AS seconds, t.id AS trial, t.parent_id AS parent
FROM metrics m
JOIN trials t ON t.id = m.trial_id
"""


def upgrade() -> None:
    """Add the views; no table changes."""
    dialect = op.get_bind().dialect.name
    op.execute(_BEST_TRIALS.format(mode=_MODE[dialect], is_number=_IS_NUMBER[dialect]))
    op.execute(_TRIAL_CURVES)
