"""Packing: which trials are trained together, when they are new and again after each rung.

A group's members must have equal shapes, batch size, epochs and minibatch order. The packing is
stored with the trials, so a restart trains the same groups and gets the same results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, TypeVar

from hpsearch.storage.records import NewTrial, SpeedRecord, TrialRecord
from workers.config import DOMAINS, STACKING, TrainConfig
from workers.config.own import of_model

LEAST_WIDTH = 32  # rows; below it a kind that was not measured may well be slower
MOST_WIDTH = 128  # rows of a group of such a kind
WORTH_TRYING = 4  # times the best width are in a group, so that a wider one can be tried
MOST_BYTES = 2 * 2**30  # of a step's own memory: no device needs that much to be full
GROUPS_A_SLOT = 6  # so that the last ones on all slots end at about the same time
TYPICAL_ROWS = 10_000  # of training data: how many there are matters only to full batches

AnyTrial = TypeVar("AnyTrial", NewTrial, TrialRecord)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A group of fewer than ``least`` rows is slow; one of more than ``most`` there is not.

    ``block`` rows are trained at once: a wider group is a multiple of them.
    """

    least: int = LEAST_WIDTH
    most: int = MOST_WIDTH
    block: int = 1


def rows_of(
    width: int | Literal["auto"], best: SpeedRecord | None = None, room: float = math.inf
) -> Rows:
    """The rows of a group, by what is asked for, by the best width that was measured, if any.

    There is memory for ``room`` of them.
    """
    rows = _rows_by_speed(width, best)
    most = int(min(rows.most, room))
    return Rows(least=min(rows.least, most), most=most, block=min(rows.block, most))


def _rows_by_speed(width: int | Literal["auto"], best: SpeedRecord | None) -> Rows:
    if width != "auto":
        return Rows(most=width)
    if best is None:
        return Rows()
    in_memory = best.width * MOST_BYTES // best.bytes if best.bytes else math.inf
    most = min(max(MOST_WIDTH, WORTH_TRYING * best.width), in_memory)
    return Rows(least=best.width, most=int(max(best.width, most)), block=best.width)


def train_config(train: Mapping[str, Any], params: Mapping[str, Any]) -> TrainConfig:
    """A trial's whole configuration: what the spec fixes, and what was sampled."""
    return TrainConfig.of({**train, **params})


def pack(
    trials: Sequence[AnyTrial],
    train: Mapping[str, Any],
    *,
    first_group: int,
    num_slots: int,
    rows: Callable[[TrainConfig], Rows] = lambda config: Rows(),
    rows_per_trial: int = 1,
    budgets: Callable[[AnyTrial], tuple[int, ...]] = lambda trial: (trial.target_epochs,),
) -> list[AnyTrial]:
    """Give every trial its group number, from ``first_group`` on; ``rows`` of a group by kind.

    Groups have up to :func:`group_size` trials, all of which can be stacked, train between the same
    epochs and have equal ``budgets``, the epochs to which they and those they continue were to
    train. Where they are few, the last of them are parted so that no slot is left without one.
    """
    groups: list[tuple[float, list[AnyTrial]]] = []  # each with the updates of one of its trials
    for config, bucket in _buckets(trials, train, budgets):
        size = group_size(
            len(trials), num_slots=num_slots, rows=rows(config), rows_per_trial=rows_per_trial
        )
        parts = _split(bucket, math.ceil(len(bucket) / size))
        groups += [(updates(config, part[0].until_epoch, part[0].epochs), part) for part in parts]
    numbered = enumerate(_filling(groups, num_slots), first_group)
    packed = [replace(trial, group=number) for number, part in numbered for trial in part]
    return sorted(packed, key=lambda trial: trial.number)


def updates(config: TrainConfig, end_epoch: int, start_epoch: int = 0) -> float:
    """Of one trial between two epochs, if there were :data:`TYPICAL_ROWS`."""
    epochs = range(start_epoch, end_epoch)
    return sum(TYPICAL_ROWS / config.minibatch_size(epoch, TYPICAL_ROWS) for epoch in epochs)


def _filling(
    groups: Sequence[tuple[float, list[AnyTrial]]], num_slots: int
) -> Iterator[list[AnyTrial]]:
    """The groups' trials; of few groups, those that would start last, the cheapest, are parted.

    One that has a slot while others have none ends no later in parts, however narrow these are.
    """
    num_last = len(groups) % num_slots if len(groups) < GROUPS_A_SLOT * num_slots else 0
    by_cost = sorted(range(len(groups)), key=lambda n: (groups[n][0] * len(groups[n][1]), -n))
    last = by_cost[:num_last]
    for number, (_, trials) in enumerate(groups):
        parts = num_slots // num_last if number in last else 1
        yield from _split(trials, min(len(trials), parts))


def group_size(num_trials: int, *, num_slots: int, rows: Rows, rows_per_trial: int = 1) -> int:
    """The most trials of a group, if there are ``num_trials`` for ``num_slots`` slots.

    Groups are small enough that every slot gets one, and where there are several slots about six
    for balance, unless that makes them too narrow. A trial whose own rows are more than
    ``rows.most`` is alone.
    """
    slots_share = math.ceil(num_trials / num_slots)
    balanced = math.ceil(slots_share / GROUPS_A_SLOT) if num_slots > 1 else slots_share
    block = math.ceil(rows.block / rows_per_trial)
    least = math.ceil(rows.least / rows_per_trial)
    size = max(least, balanced // block * block)
    return max(1, min(rows.most // rows_per_trial, size, slots_share))


def halve(ids: Sequence[int], first_group: int) -> dict[int, int]:
    """New group numbers for the members of a group that is parted in two."""
    middle = (len(ids) + 1) // 2
    return {id: first_group + (place >= middle) for place, id in enumerate(ids)}


def _buckets(
    trials: Sequence[AnyTrial],
    train: Mapping[str, Any],
    budgets: Callable[[AnyTrial], tuple[int, ...]],
) -> Iterator[tuple[TrainConfig, list[AnyTrial]]]:
    """Trials that may be trained together, with the configuration of one of them.

    A configuration is made once for all that differ only in what does not part groups.
    """
    configs: dict[Hashable, tuple[TrainConfig, Hashable]] = {}
    buckets: dict[Hashable, tuple[TrainConfig, list[AnyTrial]]] = {}
    for trial in trials:
        own = of_model({**train, **trial.params}, DOMAINS)
        names = (STACKING | own) & trial.params.keys()
        given = tuple((name, trial.params[name]) for name in names)
        if given not in configs:
            config = train_config(train, trial.params)
            configs[given] = config, config.stacking_key()
        config, stacking = configs[given]
        same = (stacking, trial.epochs, trial.until_epoch, budgets(trial), trial.replicate)
        buckets.setdefault(same, (config, []))[1].append(trial)
    yield from buckets.values()


def _split(bucket: list[AnyTrial], parts: int) -> list[list[AnyTrial]]:
    """Even runs: sizes differ by one at most."""
    ends = [math.ceil(len(bucket) * part / parts) for part in range(parts + 1)]
    return [bucket[start:end] for start, end in pairwise(ends)]
