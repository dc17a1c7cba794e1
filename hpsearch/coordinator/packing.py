"""Packing: which new trials are trained together.

A group's members must have equal shapes, batch size, start epoch and minibatch order. The packing
is stored with the trials, so a restart trains the same groups and gets the same results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpsearch.storage.records import NewTrial
from workers.config import TrainConfig

LEAST_WIDTH = 32  # rows; below this one costs clearly more (benchmarks/stacking.py)


def train_config(train: Mapping[str, Any], params: Mapping[str, Any]) -> TrainConfig:
    """A trial's whole configuration: what the spec fixes, and what was sampled."""
    return TrainConfig.of({**train, **params})


def pack(
    trials: Sequence[NewTrial],
    train: Mapping[str, Any],
    *,
    first_group: int,
    num_slots: int,
    width: int,
    rows_per_trial: int = 1,
    budgets: Callable[[NewTrial], tuple[int, ...]] = lambda trial: (trial.target_epochs,),
) -> list[NewTrial]:
    """Give every trial its group number, from ``first_group`` on; at most ``width`` rows a group.

    Groups have up to :func:`group_size` trials, all of which can be stacked and have equal
    ``budgets``, the epochs to which they and those they continue were to train.
    """
    target = group_size(
        len(trials), num_slots=num_slots, width=width, rows_per_trial=rows_per_trial
    )
    packed: list[NewTrial] = []
    number = first_group
    for bucket in _buckets(trials, train, budgets).values():
        for part in _split(bucket, math.ceil(len(bucket) / target)):
            packed += [replace(trial, group=number) for trial in part]
            number += 1
    return sorted(packed, key=lambda trial: trial.number)


def group_size(num_trials: int, *, num_slots: int, width: int, rows_per_trial: int = 1) -> int:
    """The most trials of a group, if there are ``num_trials`` for ``num_slots`` slots.

    Groups are small enough that every slot gets one, and about two for balance unless that makes
    them narrower than LEAST_WIDTH. A trial whose own rows are more than ``width`` is alone.
    """
    least = math.ceil(LEAST_WIDTH / rows_per_trial)
    balanced = max(least, math.ceil(num_trials / (2 * num_slots)))
    return max(1, min(width // rows_per_trial, balanced, math.ceil(num_trials / num_slots)))


def halve(ids: Sequence[int], first_group: int) -> dict[int, int]:
    """New group numbers for the members of a group that is parted in two."""
    middle = (len(ids) + 1) // 2
    return {id: first_group + (place >= middle) for place, id in enumerate(ids)}


def _buckets(
    trials: Sequence[NewTrial],
    train: Mapping[str, Any],
    budgets: Callable[[NewTrial], tuple[int, ...]],
) -> dict[Hashable, list[NewTrial]]:
    buckets: dict[Hashable, list[NewTrial]] = {}
    for trial in trials:
        shapes = train_config(train, trial.params).stacking_key()
        same = (shapes, trial.start_epoch, budgets(trial), trial.replicate)
        buckets.setdefault(same, []).append(trial)
    return buckets


def _split(bucket: list[NewTrial], parts: int) -> list[list[NewTrial]]:
    """Even runs: sizes differ by one at most."""
    size, extra = divmod(len(bucket), parts)
    ends = [size * (i + 1) + min(i + 1, extra) for i in range(parts)]
    return [bucket[start:end] for start, end in zip([0, *ends], ends, strict=False)]
