"""The end of an epoch: rows become trials, the device is read once, and who is to end is found.

Called by the loop; metrics of the folds of one trial become their mean, and the objective its
spread and its value in each fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from workers.messages import Metric, Refusal, Report, TrialGroup
from workers.training import divergence, stopping
from workers.training.parallel import Devices
from workers.training.stack import Stack

STATE, STOPS, CHANCE = "state", "stops", "chance"


def close_epoch(
    stack: Stack,
    group: TrialGroup,
    metrics: Mapping[str, Tensor],
    epoch: int,
    unmeasured: Mapping[int, str] = MappingProxyType({}),
) -> Report:
    """The Report of ``epoch`` (from 1), without those that diverged, whose rows are dropped.

    ``metrics`` are [M], or [M, L] with a number a layer. Trials that are ``unmeasured``, each for
    its reason, are refused and dropped, unless they diverged. The rows of those in
    ``Report.stopped`` are still there, for the checkpoint of this epoch.
    """
    trials = [member.trial for member in stack.members]
    told = _read(_on_device(stack, group, metrics), stack.mesh.whole)
    states, stops, chances = (told.pop(name) for name in (STATE, STOPS, CHANCE))
    healthy = [
        place for place, state in enumerate(states) if not state and trials[place] not in unmeasured
    ]
    diverged = tuple(
        divergence.describe(
            trials[place],
            epoch,
            int(_number(state)),
            {name: column[place] for name, column in told.items()},
            _number(chances[place]),
        )
        for place, state in enumerate(states)
        if state
    )
    ended = {end.trial for end in diverged}
    refused = tuple(
        Refusal(trial=trial, message=f"epoch {epoch}: {message}")
        for trial, message in unmeasured.items()
        if trial not in ended
    )
    stack.drop(ended | unmeasured.keys())
    return Report(
        epoch=epoch,
        trials=tuple(trials[place] for place in healthy),
        metrics={name: [column[place] for place in healthy] for name, column in told.items()}
        if healthy
        else {},
        seconds=0.0,
        diverged=diverged,
        refused=refused,
        stopped=tuple(trials[place] for place in healthy if stops[place]),
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


def _read(trials: Mapping[str, Tensor], devices: Devices) -> dict[str, list[Metric]]:
    """What the device says, a value a trial by name: the epoch's one synchronization.

    All devices take what device 0 has, so that none ends a trial that others go on with.
    """
    columns = {name: t.unsqueeze(1) if t.dim() == 1 else t for name, t in trials.items()}
    table_TW = torch.cat([column.double() for column in columns.values()], dim=1)
    table_TW = devices.agreed(table_TW).cpu()
    parts = torch.split(table_TW, [column.shape[1] for column in columns.values()], dim=1)
    return {
        name: (part.squeeze(1) if trials[name].dim() == 1 else part).tolist()
        for name, part in zip(columns, parts, strict=True)
    }


def _number(metric: Metric) -> float:
    assert isinstance(metric, float)
    return metric
