"""Measuring: a trained network on the validation part, once more and in more detail.

Called by the in-process executor for the report of a search.
"""

from __future__ import annotations

from workers.messages import Measured, TrialGroup
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.precision import matrix_products


def measure(group: TrialGroup, data: DeviceData) -> Measured:
    """The one member of ``group`` at its start epoch, the epoch of its checkpoint.

    With k folds metrics are their mean over the folds' networks, each on its own part, and the
    confusion is the sum. Raises CheckpointError, and what its configuration makes PyTorch raise.
    """
    assert len(group.members) == 1, "one network at a time"
    with matrix_products(group.members[0].config.precision):
        training = GroupTraining(group, data)
        metrics = training.evaluate()
        confusion = None if data.shape.is_regression else training.confusion().sum(0).tolist()
    told = {name: float(values_M.double().mean()) for name, values_M in metrics.items()}
    return Measured(metrics=told, confusion=confusion)
