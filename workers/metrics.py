"""What training reports after each epoch, by name; standard library only.

``hpsearch.spec`` reads which of them may be an objective, the database has a column for each.
"""

from __future__ import annotations

from typing import Literal

Mode = Literal["max", "min"]

# The good direction of each metric that can rank trials.
CLASS_OBJECTIVES: dict[str, Mode] = {
    "val_accuracy": "max",
    "val_balanced_accuracy": "max",
    "val_f1": "max",
    "val_loss": "min",
    "train_accuracy": "max",
    "train_loss": "min",
}
REGRESSION_OBJECTIVES: dict[str, Mode] = {
    "val_r2": "max",
    "val_mae": "min",
    "val_loss": "min",
    "train_r2": "max",
    "train_loss": "min",
}
OBJECTIVES: dict[str, Mode] = {**CLASS_OBJECTIVES, **REGRESSION_OBJECTIVES}

VALUE = "value"  # the column of an objective that is none of these


def column_of(metric: str) -> str:
    """The column of ``metrics`` in which an objective is stored."""
    return metric if metric in OBJECTIVES else VALUE


# What is watched beside them; `spread` is the objective's standard deviation over the folds.
WATCHED = (
    "learning_rate",
    "gradient_norm",
    "update_ratio",
    "dead_fraction",
    "saturated_fraction",
    "spread",
)
PER_LAYER = ("layer_gradient_norms",)  # lists, first layer to last
PER_FOLD = ("by_fold",)  # lists, first fold to last: the objective in each of them
