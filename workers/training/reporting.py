"""The end of an epoch: rows become trials, the device is read once, and who is to end is found.

Called by the loop; metrics of the folds of one trial become their mean and its spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.messages import Divergence, Metric, Report, TrialGroup
from workers.training import divergence, stopping
from workers.training.stack import Stack

STATE, STOPS = "state", "stops"


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What the device said: the metrics of each member, its divergence state, whether it stops."""

    rows: list[dict[str, Metric]]
    states: list[int]
    stops: list[bool]


def close_epoch(
    stack: Stack, group: TrialGroup, metrics: Mapping[str, Tensor], epoch: int, chance: float
) -> Report:
    """The Report of ``epoch`` (from 1), without those that diverged, whose rows are dropped.

    ``metrics`` are [M], or [M, L] with a number a layer; ``chance`` is the loss of guessing. The
    rows of those in ``Report.stopped`` are still there, for the checkpoint of this epoch.
    """
    end = _read(_on_device(stack, group, metrics, chance))
    members = list(zip(stack.members, end.rows, end.states, end.stops, strict=True))
    ended = tuple(
        divergence.describe(member.trial, epoch, state, row, chance)
        for member, row, state, _ in members
        if state
    )
    healthy = [(member.trial, row, stops) for member, row, state, stops in members if not state]
    stack.drop({end.trial for end in ended})
    return _report(epoch, healthy, ended)


def _report(
    epoch: int,
    healthy: Sequence[tuple[int, dict[str, Metric], bool]],
    ended: tuple[Divergence, ...],
) -> Report:
    names = list(healthy[0][1]) if healthy else []
    return Report(
        epoch=epoch,
        trials=tuple(trial for trial, _, _ in healthy),
        metrics={name: [row[name] for _, row, _ in healthy] for name in names},
        seconds=0.0,
        diverged=ended,
        stopped=tuple(trial for trial, _, stops in healthy if stops),
    )


def _on_device(
    stack: Stack, group: TrialGroup, metrics: Mapping[str, Tensor], chance: float
) -> dict[str, Tensor]:
    """All that is read at the end of the epoch, by trial: [T] or [T, L] in float64."""
    folds = stack.num_folds
    states_M = divergence.watch(stack, metrics, chance)
    trials = {
        name: _by_trial(tensor.to(stack.device).double(), folds).mean(1)
        for name, tensor in metrics.items()
    }
    value_T = trials[group.metric]
    if folds > 1:
        trials["spread"] = _by_trial(metrics[group.metric].double(), folds).std(1)
    stops_M = stopping.advance(
        stack.rows, stack.columns, value_T.repeat_interleave(folds), group.mode
    )
    trials[STATE] = _by_trial(states_M, folds).amax(1)
    trials[STOPS] = _by_trial(stops_M, folds)[:, 0]
    return trials


def _by_trial(of_rows: Tensor, folds: int) -> Tensor:
    """[M, ...] as [T, folds, ...]."""
    return of_rows.view(-1, folds, *of_rows.shape[1:])


def _read(trials: dict[str, Tensor]) -> Epoch:
    """The epoch's one synchronization."""
    columns = {name: t.unsqueeze(1) if t.dim() == 1 else t for name, t in trials.items()}
    table = torch.cat([column.double() for column in columns.values()], dim=1).tolist()
    rows = [_named(columns, numbers, trials) for numbers in table]
    states = [int(_number(row.pop(STATE))) for row in rows]
    return Epoch(rows=rows, states=states, stops=[bool(row.pop(STOPS)) for row in rows])


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
