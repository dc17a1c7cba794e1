"""What waits on the objective: early stopping, and the rate that drops on a plateau.

Called by the loop at the end of an epoch, before it reads the device; state is in the stack's rows.
"""

from __future__ import annotations

from math import inf
from typing import Literal

import torch
from torch import Tensor

from workers.training.columns import Columns


def blank_rows(columns: Columns) -> dict[str, Tensor]:
    """The state before the first epoch, [M] each; none if no row stops early or has a plateau.

    ``best`` is the best value so far, its sign turned where less is better; ``stale`` counts the
    epochs since, ``lr_stale`` likewise but from the last drop on; ``lr_factor`` is what plateaus
    have left of the rate, 1 in rows without.
    """
    if columns.active("patience") is None and not _plateaus(columns):
        return {}
    ones_M = torch.ones(len(columns), dtype=torch.float64, device=columns.device)
    zeros_M = torch.zeros(len(columns), dtype=torch.int64, device=columns.device)
    return {
        "best": ones_M * -inf,
        "stale": zeros_M,
        "lr_stale": zeros_M.clone(),
        "lr_factor": ones_M,
    }


def advance(
    rows: dict[str, Tensor], columns: Columns, value_M: Tensor, mode: Literal["max", "min"]
) -> Tensor:
    """Take in the epoch's objective; boolean [M]: the rows that are to stop now.

    ``value_M`` is the trial's value, equal in all its folds. A row stops after ``patience`` epochs
    in a row that were not better than the best by more than min_delta (Prechelt 1998; Keras's
    EarlyStopping). NaN is never better. ``rows`` change in place, and nothing waits for the device.
    """
    if "best" not in rows:
        return torch.zeros(len(columns), dtype=torch.bool, device=columns.device)
    goodness_M = value_M.double() if mode == "max" else -value_M.double()
    better_M = goodness_M > rows["best"] + columns.number("min_delta", dtype=torch.float64)
    rows["best"].copy_(torch.where(better_M, goodness_M, rows["best"]))
    for name in ("stale", "lr_stale"):
        rows[name].add_(1).masked_fill_(better_M, 0)
    if _plateaus(columns):
        _drop_rates(rows, columns)
    return rows["stale"] >= columns.number("patience", dtype=torch.float64, off=inf)


def _drop_rates(rows: dict[str, Tensor], columns: Columns) -> None:
    """After more than lr_patience stale epochs: lr_factor <- max(lr_decay lr_factor, lr_min).

    torch's ReduceLROnPlateau with threshold_mode="abs" and eps=0; a rate never rises.
    """
    patience_M = columns.number("lr_patience", dtype=torch.float64)
    due_M = (rows["lr_stale"] > patience_M) & columns.chosen("lr_schedule", "plateau")
    factor_M = rows["lr_factor"]
    lower_M = factor_M * columns.number("lr_decay", dtype=torch.float64)
    lower_M = torch.maximum(lower_M, columns.number("lr_min", dtype=torch.float64))
    factor_M.copy_(torch.where(due_M, torch.minimum(factor_M, lower_M), factor_M))
    rows["lr_stale"].masked_fill_(due_M, 0)


def _plateaus(columns: Columns) -> bool:
    return any(config.lr_schedule == "plateau" for config in columns.configs)
