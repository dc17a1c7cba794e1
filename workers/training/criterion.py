"""``criterion_of``: the loss of a configuration for the rows of a block, ours or a user's own.

Called by ``group_training`` and the checks.
"""

from __future__ import annotations

from workers.config import TrainConfig
from workers.config.combination import loss_of
from workers.training.columns import Columns
from workers.training.feed import DeviceData
from workers.training.loss import Criterion
from workers.training.own_loss import OwnCriterion, OwnLoss


def criterion_of(
    config: TrainConfig, data: DeviceData, columns: Columns, own: OwnLoss | None
) -> Criterion:
    """That of the rows of ``columns``; ``own`` is the user's loss, if ``config`` names one."""
    if own is not None:
        return OwnCriterion(own)
    return Criterion(loss_of(config, data.shape), columns, data.class_counts_kC)
