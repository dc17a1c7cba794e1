"""The columns of every frame, in order, with their dtypes.

Read by ``hpsearch.analysis``; docs/analysis.md says what those of ``best`` and the views are.
"""

from __future__ import annotations

from hpsearch.storage.reports import METRIC_COLUMNS, OTHERS
from workers.metrics import PER_FOLD, PER_LAYER

TIME = "datetime64[us, UTC]"
LISTS = (*PER_LAYER, *PER_FOLD)
TRIALS = {
    "number": "Int64",
    "trial": "Int64",
    "stage": "category",
    "branch": "category",
    "state": "category",
    "value": "float64",
    "spread": "float64",
    "best_epoch": "Int64",
    "epochs": "Int64",
    "seed": "Int64",
    "replicate": "Int64",
    "seconds": "float64",
    "failure_kind": "category",
    "failure_message": "string",
    "parent": "Int64",
    "created_at": TIME,
    "finished_at": TIME,
    "worker": "string",
}
# In the place of ``spread`` alone: what a trial ranks by, over its seeds, or its folds, or itself.
_OVER = {
    "mean": "float64",
    "spread": "float64",
    "n": "Int64",
    "confirmed": "boolean",
    "within_noise": "boolean",
}
BEST = {
    name: dtype
    for column, of_trials in TRIALS.items()
    for name, dtype in (_OVER if column == "spread" else {column: of_trials}).items()
}
BEST_OF_N = {
    "n": "Int64",
    "expected": "float64",
    "low": "float64",
    "high": "float64",
    "gain": "float64",
}
COMPARED = {
    "search": "Int64",
    "name": "string",
    "state": "category",
    "number": "Int64",
    "mean": "float64",
    "spread": "float64",
    "n": "Int64",
    "confirmed": "boolean",
    "behind": "float64",
    "within_noise": "boolean",
    "trials": "Int64",
    "complete": "Int64",
    "pruned": "Int64",
    "failed": "Int64",
    "trained": "Int64",
    "seconds": "float64",
    "data": "string",
}
CURVES = {
    "number": "Int64",
    "trial": "Int64",
    "epoch": "Int64",
    **dict.fromkeys((name for name in METRIC_COLUMNS if name != OTHERS), "float64"),
    **dict.fromkeys(LISTS, "object"),
}
STAGES = {
    "stage": "category",
    "kind": "category",
    "branch": "category",
    "parameter": "string",
    "low": "float64",
    "high": "float64",
    "choices": "object",
    "action": "string",
    "reason": "string",
    "trials": "Int64",
    "epochs": "Int64",
    "sampler": "category",
    "pruner": "category",
}
DIAGNOSES = {
    "number": "Int64",
    "kind": "category",
    "message": "string",
    "trial": "Int64",
    "stage": "category",
    "evidence": "object",
    "created_at": TIME,
}
EVENTS = {
    "event": "Int64",
    "kind": "category",
    "data": "object",
    "created_at": TIME,
}
SEARCHES = {
    "search": "Int64",
    "name": "string",
    "state": "category",
    "metric": "string",
    "mode": "category",
    "best": "float64",
    "trials": "Int64",
    "complete": "Int64",
    "pruned": "Int64",
    "failed": "Int64",
    "seed": "Int64",
    "hpsearch_version": "string",
    "git_commit": "string",
    "host": "string",
    "user": "string",
    "created_at": TIME,
    "finished_at": TIME,
    "message": "string",
}
STATUS = {
    "stage": "string",
    "kind": "category",
    "state": "category",
    "epochs": "Int64",
    "trials": "Int64",
    "waiting": "Int64",
    "running": "Int64",
    "complete": "Int64",
    "pruned": "Int64",
    "failed": "Int64",
    "trained": "Int64",
    "best": "float64",
}
WIDTHS = {
    "kind": "category",
    "device": "category",
    "width": "Int64",
    "seconds": "float64",
    "seconds_per_row": "float64",
    "bytes": "Int64",
    "best": "boolean",
    "measured_at": TIME,
}
