"""Groups as workers take them: built from the stored trials of one group number.

Called by the loop when a group is started, for the first time or again after a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hpsearch.coordinator.packing import train_config, updates
from hpsearch.coordinator.resources import checkpoint_path
from hpsearch.coordinator.view import has_epochs_to_go
from hpsearch.coordinator.warm_starts import WarmStarts
from hpsearch.spec.search import Search
from hpsearch.storage.records import GroupRecord, StageRecord, TrialRecord
from workers.keys import key
from workers.messages import CheckpointSlice, Member, TrialGroup


def to_train(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The members of a group that is to go on from its last checkpoint; none if no one has to.

    Members that ended after it are trained again with the others: a group of the same members gives
    the same results to the last bit, and what is stored of them already stays as it is.
    """
    reached = [trial.checkpoint_epoch for trial in trials if has_epochs_to_go(trial)]
    if not reached:
        return []
    return [trial for trial in trials if has_epochs_to_go(trial) or trial.epochs > reached[0]]


def has_checkpoint(members: Sequence[TrialRecord], folder: Path) -> bool:
    """Whether every file is there that the members are to go on from."""
    files = {trial.checkpoint_file for trial in members if trial.checkpoint_epoch}
    return all(file is not None and checkpoint_path(folder, file).exists() for file in files)


def from_the_start(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The group from its first epoch on; what it repeats, it repeats with the same results."""
    forgotten = [
        replace(trial, checkpoint_file=None, checkpoint_row=None, checkpoint_epoch=0)
        for trial in trials
    ]
    return to_train(forgotten)


def build_group(
    spec: Search,
    stage: StageRecord,
    trials: Sequence[TrialRecord],
    folder: Path,
    warm_starts: Callable[[], WarmStarts],
    budgets: tuple[int, ...],
    record: GroupRecord | None = None,
) -> TrialGroup:
    """The group of ``trials`` (see :func:`to_train`), going on from their common checkpoint.

    ``warm_starts`` is asked only for trials that have no checkpoint of their own yet. ``budgets``
    are the epochs to which they, and those they continue, were to train. Without a ``record`` all
    rows are trained at once.
    """
    first = trials[0]
    start, end = first.checkpoint_epoch, first.until_epoch
    name = f"{spec.name}/{stage.name} group {first.group}, {len(trials)} trials, to epoch {end}"
    return TrialGroup(
        name=name,
        stage=stage.name,
        members=tuple(_member(spec, trial, folder, warm_starts) for trial in trials),
        order_seed=key(spec.seed, "order", first.replicate),
        start_epoch=start,
        end_epoch=end,
        budgets=budgets,
        metric=spec.objective.metric,
        mode=spec.objective.mode,
        own_metrics=tuple(spec.metrics.items()),
        checkpoint_stem=str(folder / f"group-{first.group}"),
        checkpoint_every=spec.resources.checkpoint_every,
        width=None if record is None else record.width,
        measures=record is not None and record.measures,
    )


def cost(spec: Search, trials: Sequence[TrialRecord], row_step_s: float = 1.0) -> float:
    """Relative time of a group, to start the longest first: the updates of all its rows.

    ``row_step_s`` are the seconds of one update of one row.
    """
    config, first = train_config(spec.train, trials[0].params), trials[0]
    each = updates(config, first.until_epoch, first.checkpoint_epoch)
    return spec.data.rows_per_trial * len(trials) * each * row_step_s


def _member(
    spec: Search, trial: TrialRecord, folder: Path, warm_starts: Callable[[], WarmStarts]
) -> Member:
    config = train_config(spec.train, trial.params)
    resume = warm_start = None
    if trial.checkpoint_file is not None and trial.checkpoint_row is not None:
        file = checkpoint_path(folder, trial.checkpoint_file)
        resume = CheckpointSlice(file=str(file), row=trial.checkpoint_row)
    elif config.warm_start is not None:
        warm_start = warm_starts()[config.warm_start]
    return Member(
        trial=trial.id,
        seed=trial.seed,
        config=config,
        resume=resume,
        warm_start=warm_start,
    )
