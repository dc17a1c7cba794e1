"""The end of an epoch: rows become trials, the device is read once, and who is to end is found.

Called by the loop; metrics of the folds of one trial become their mean, and the objective its
spread and its value in each fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from workers.messages import Metric, Report, TrialGroup
from workers.training import divergence, stopping
from workers.training.stack import Stack

STATE, STOPS, CHANCE = "state", "stops", "chance"


class _End:
    """One trial at the end of an epoch: its metrics, and what else the device said of it."""

    def __init__(self, trial: int, metrics: dict[str, Metric]) -> None:
        self.trial, self.metrics = trial, metrics
        self.state, self.stops = int(_number(metrics.pop(STATE))), bool(metrics.pop(STOPS))
        self.chance = _number(metrics.pop(CHANCE))


def close_epoch(
    stack: Stack, group: TrialGroup, metrics: Mapping[str, Tensor], epoch: int
) -> Report:
    """The Report of ``epoch`` (from 1), without those that diverged, whose rows are dropped.

    ``metrics`` are [M], or [M, L] with a number a layer. The rows of those in ``Report.stopped``
    are still there, for the checkpoint of this epoch.
    """
    ends = [
        _End(trial=member.trial, metrics=row)
        for member, row in zip(stack.members, _read(_on_device(stack, group, metrics)), strict=True)
    ]
    healthy = [end for end in ends if not end.state]
    diverged = tuple(
        divergence.describe(end.trial, epoch, end.state, end.metrics, end.chance)
        for end in ends
        if end.state
    )
    stack.drop({end.trial for end in diverged})
    return Report(
        epoch=epoch,
        trials=tuple(end.trial for end in healthy),
        metrics={n: [end.metrics[n] for end in healthy] for n in healthy[0].metrics}
        if healthy
        else {},
        seconds=0.0,
        diverged=diverged,
        stopped=tuple(end.trial for end in healthy if end.stops),
    )


def _on_device(stack: Stack, group: TrialGroup, metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All that is read at the end of the epoch, by trial: [T] or [T, L] in float64."""
    folds = stack.num_folds
    states_M = divergence.watch(stack, metrics)
    trials = {
        name: _by_trial(tensor.to(stack.device).double(), folds).mean(1)
        for name, tensor in metrics.items()
    }
    value_T = trials[group.metric]
    if folds > 1:
        trials["by_fold"] = _by_trial(metrics[group.metric].double(), folds)
        trials["spread"] = trials["by_fold"].std(1)
    stops_M = stopping.advance(
        stack.rows, stack.columns, value_T.repeat_interleave(folds), group.mode
    )
    told_M = {STATE: states_M, STOPS: stops_M, CHANCE: stack.rows["chance"]}
    return trials | {name: _by_trial(of_M, folds).amax(1) for name, of_M in told_M.items()}


def _by_trial(of_rows: Tensor, folds: int) -> Tensor:
    """[M, ...] as [T, folds, ...]."""
    return of_rows.view(-1, folds, *of_rows.shape[1:])


def _read(trials: Mapping[str, Tensor]) -> list[dict[str, Metric]]:
    """What the device says of each trial: the epoch's one synchronization."""
    columns = {name: t.unsqueeze(1) if t.dim() == 1 else t for name, t in trials.items()}
    table = torch.cat([column.double() for column in columns.values()], dim=1).tolist()
    return [_named(columns, numbers, trials) for numbers in table]


def _named(
    columns: Mapping[str, Tensor], numbers: Sequence[float], trials: Mapping[str, Tensor]
) -> dict[str, Metric]:
    row: dict[str, Metric] = {}
    place = 0
    for name, column in columns.items():
        values = list(numbers[place : place + column.shape[1]])
        row[name] = values[0] if trials[name].dim() == 1 else values
        place += column.shape[1]
    return row


def _number(metric: Metric) -> float:
    assert isinstance(metric, float)
    return metric
