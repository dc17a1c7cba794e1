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

# What a dialect has its own words for: the good direction of a search, its folds, a number.
_WORDS = {
    "sqlite": {
        "mode": "json_extract(s.spec, '$.objective.mode')",
        "folds": "json_extract(s.spec, '$.data.folds')",
        "is_number": "typeof(t.value) = 'real'",
    },
    "postgresql": {
        "mode": "s.spec -> 'objective' ->> 'mode'",
        "folds": "CAST(s.spec -> 'data' ->> 'folds' AS INTEGER)",
        "is_number": "t.value <> 'NaN'",
    },
}

# As Frames.best has it: those that were repeated with other seeds first, by the mean over them.
_BEST_TRIALS = """
CREATE VIEW best_trials AS
WITH repeats AS (
    SELECT t.parent_id AS trial, t.value AS value
    FROM trials t
    WHERE t.replicate > 0 AND t.state = 'complete' AND {is_number}
), means AS (
    SELECT trial, avg(value) AS mean, count(*) AS n FROM repeats GROUP BY trial
), spreads AS (
    SELECT r.trial, m.mean, m.n,
        sum((r.value - m.mean) * (r.value - m.mean)) / nullif(m.n - 1, 0) AS variance
    FROM repeats r JOIN means m ON m.trial = r.trial
    GROUP BY r.trial, m.mean, m.n
)
SELECT
    s.id AS search, s.name AS name,
    row_number() OVER (
        PARTITION BY s.id
        ORDER BY
            CASE WHEN c.trial IS NULL THEN 1 ELSE 0 END,
            CASE WHEN {mode} = 'max' THEN -1 ELSE 1 END * coalesce(c.mean, t.value),
            t.number
    ) AS rank,
    t.number AS number, t.value AS value,
    coalesce(c.mean, t.value) AS mean,
    CASE WHEN c.trial IS NULL THEN t.spread * t.spread ELSE c.variance END AS variance,
    coalesce(c.n, CASE WHEN t.spread IS NULL THEN 1 ELSE {folds} END) AS n,
    c.trial IS NOT NULL AS confirmed,
    t.best_epoch AS best_epoch, t.epochs AS epochs, g.name AS stage, t.branch AS branch,
    t.seconds AS seconds, t.params AS params, t.id AS trial
FROM trials t
JOIN searches s ON s.id = t.search_id
JOIN stages g ON g.id = t.stage_id
LEFT JOIN spreads c ON c.trial = t.id
WHERE t.state = 'complete' AND {is_number} AND (t.replicate = 0 OR c.trial IS NOT NULL)
AND NOT EXISTS (SELECT 1 FROM trials o WHERE o.parent_id = t.id AND o.start_epoch > 0)
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
    words = _WORDS[op.get_bind().dialect.name]
    op.execute(_BEST_TRIALS.format(**words))
    op.execute(_TRIAL_CURVES)
