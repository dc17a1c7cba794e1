"""Divergence: members whose training has failed for good are found at the end of an epoch.

Called by the loop; what it finds ends as failed/diverged, and its row is dropped.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workers.messages import Divergence
from workers.training.stack import Stack

FAR_ABOVE_CHANCE = 10.0  # times ln(classes), the loss of guessing evenly
PATIENCE = 3  # epochs in a row far above chance and hardly falling
FALLING = 0.9  # a loss falls if an epoch takes it below this part of itself


def find(
    stack: Stack, metrics: dict[str, Tensor], epoch: int, num_classes: int
) -> tuple[Divergence, ...]:
    """Members whose loss or parameters are not finite, or whose loss stays far above chance."""
    limit = FAR_ABOVE_CHANCE * math.log(num_classes)
    train_M, val_M = metrics["train_loss"], metrics["val_loss"]
    strikes_M = _count_strikes(stack, train_M, limit)
    finite_M = stack.weights_MP.isfinite().all(1)
    bad_M = ~(train_M.isfinite() & val_M.isfinite() & finite_M) | (strikes_M >= PATIENCE)
    if not bool(bad_M.any()):
        return ()
    rows = bad_M.nonzero().flatten().tolist()
    return tuple(
        Divergence(
            trial=stack.members[row].trial,
            epoch=epoch,
            message=_message(float(train_M[row]), float(val_M[row]), bool(finite_M[row]), limit),
            metrics={name: float(values_M[row]) for name, values_M in metrics.items()},
        )
        for row in rows
    )


def _count_strikes(stack: Stack, train_M: Tensor, limit: float) -> Tensor:
    last_M, strikes_M = stack.rows["last_loss"], stack.rows["strikes"]
    # The first epoch far above chance is a strike too: there is nothing yet that it fell from.
    stuck_M = (train_M > limit) & ((train_M >= FALLING * last_M) | last_M.isinf())
    strikes_M.copy_(torch.where(stuck_M, strikes_M + 1, 0))
    last_M.copy_(train_M)
    return strikes_M


def _message(train_loss: float, val_loss: float, weights_finite: bool, limit: float) -> str:
    if not math.isfinite(train_loss):
        return f"the training loss is {train_loss}"
    if not weights_finite:
        return "a parameter is not finite"
    if not math.isfinite(val_loss):
        return f"the validation loss is {val_loss}"
    return (
        f"the training loss {train_loss:.4g} stayed above {limit:.4g}, {FAR_ABOVE_CHANCE:g} times "
        f"that of guessing, for {PATIENCE} epochs and hardly fell"
    )
