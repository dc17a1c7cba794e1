"""Divergence: members whose training has failed for good are found at the end of an epoch.

Called by the loop; what it finds ends as failed/diverged, and its rows are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.messages import Divergence, Metric
from workers.training.stack import Stack

FAR_ABOVE_CHANCE = 10.0  # times the loss of guessing
PATIENCE = 3  # epochs in a row far above chance and hardly falling
FALLING = 0.9  # a loss falls if an epoch takes it below this part of itself
HEALTHY, BAD_TRAINING_LOSS, BAD_PARAMETER, BAD_VALIDATION_LOSS, STUCK = range(5)


def watch(stack: Stack, metrics: Mapping[str, Tensor]) -> Tensor:
    """Each row's state [M], on the device: HEALTHY, or the first thing that is wrong with it."""
    train_loss_M = metrics["train_loss"]
    strikes_M = _count_strikes(stack, train_loss_M, FAR_ABOVE_CHANCE * stack.rows["chance"])
    states_M = torch.zeros_like(strikes_M)
    states_M[strikes_M >= PATIENCE] = STUCK
    states_M[~metrics["val_loss"].isfinite()] = BAD_VALIDATION_LOSS
    bad_M = (~stack.weights_MP.isfinite()).any(1).float()
    states_M[stack.shares.add_up(bad_M) > 0] = BAD_PARAMETER
    states_M[~train_loss_M.isfinite()] = BAD_TRAINING_LOSS
    return states_M


def describe(
    trial: int, epoch: int, state: int, metrics: Mapping[str, Metric], chance: float
) -> Divergence:
    """What is told of a member that is not healthy after ``epoch`` (from 1).

    ``chance`` is its loss of guessing.
    """
    loss, limit = metrics["train_loss"], FAR_ABOVE_CHANCE * chance
    message = {
        BAD_TRAINING_LOSS: f"the training loss is {loss}",
        BAD_PARAMETER: "a parameter is not finite",
        BAD_VALIDATION_LOSS: f"the validation loss is {metrics['val_loss']}",
        STUCK: (
            f"the training loss {loss:.4g} stayed above {limit:.4g} "
            f"({FAR_ABOVE_CHANCE:g} times that of guessing) for {PATIENCE} epochs and hardly fell"
        ),
    }[state]
    return Divergence(trial=trial, epoch=epoch, message=message, metrics=dict(metrics))


def _count_strikes(stack: Stack, train_loss_M: Tensor, limit_M: Tensor) -> Tensor:
    last_M, strikes_M = stack.rows["last_loss"], stack.rows["strikes"]
    # The first epoch far above chance is a strike too: there is nothing yet that it fell from.
    falls_M = (train_loss_M < FALLING * last_M) & last_M.isfinite()
    strikes_M.copy_(torch.where((train_loss_M > limit_M) & ~falls_M, strikes_M + 1, 0))
    last_M.copy_(train_loss_M)
    return strikes_M
