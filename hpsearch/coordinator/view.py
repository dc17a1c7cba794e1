"""SearchView: a search's stored records in memory, indexed; every decision reads this.

The ledger replaces records here only after they are committed, so a view that is read back from the
database is the same.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from hpsearch.coordinator.curves import Curves
from hpsearch.coordinator.speeds import Speeds
from hpsearch.sampling.observations import Observation
from hpsearch.storage.records import (
    FINISHED,
    GroupRecord,
    NewTrial,
    SearchRecord,
    StageRecord,
    TrialRecord,
)


@dataclass(slots=True)
class SearchView:
    """The search, its stages in order of position, its trials by id and its groups by number.

    ``speeds`` are those of all searches; ``curves`` are kept only where a pruner may ask for them,
    and ``brackets``, Hyperband's by trial id, are found when they are asked for. ``collected`` are
    checkpoints that were deleted. ``prior`` is what an earlier search found, for the first stage.
    """

    search: SearchRecord
    stages: list[StageRecord] = field(default_factory=list)
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    groups: dict[int, GroupRecord] = field(default_factory=dict)
    speeds: Speeds = field(default_factory=Speeds)
    curves: Curves = field(default_factory=Curves)
    brackets: dict[int, int] = field(default_factory=dict)
    collected: set[str] = field(default_factory=set)
    prior: tuple[Observation, ...] = ()
    _by_stage: dict[int, list[int]] = field(default_factory=dict)
    _by_group: dict[int, list[int]] = field(default_factory=dict)
    _files: Counter[str] = field(default_factory=Counter)

    def add(self, trials: Iterable[TrialRecord]) -> None:
        """Take up trials that are new to this view."""
        for trial in trials:
            self.trials[trial.id] = trial
            self._by_stage.setdefault(trial.stage_id, []).append(trial.id)
            self._by_group.setdefault(trial.group, []).append(trial.id)
            self._count_file(trial, 1)

    def update(self, trials: Iterable[TrialRecord]) -> None:
        """Take up new records of trials that are here; their group may have changed."""
        for trial in trials:
            old = self.trials[trial.id]
            self.trials[trial.id] = trial
            if old.group != trial.group:
                self._by_group[old.group].remove(trial.id)
                self._by_group.setdefault(trial.group, []).append(trial.id)
            if (old.checkpoint_file, old.state) != (trial.checkpoint_file, trial.state):
                self._count_file(old, -1)
                self._count_file(trial, 1)

    def _count_file(self, trial: TrialRecord, one: int) -> None:
        if trial.checkpoint_file is not None and trial.state not in ("pruned", "failed"):
            self._files[trial.checkpoint_file] += one
            if one > 0:
                self.collected.discard(trial.checkpoint_file)  # it was written again

    def needs(self, file: str) -> bool:
        """Whether a trial that goes on, or is complete, has its weights in this checkpoint."""
        return self._files[file] > 0

    def files(self) -> set[str]:
        """The checkpoints of trials that go on or are complete, but for the collected ones."""
        return {file for file, count in self._files.items() if count > 0} - self.collected

    def of_stage(self, *stages: StageRecord) -> list[TrialRecord]:
        """The stages' trials by number."""
        ids = (id for stage in stages for id in self._by_stage.get(stage.id, ()))
        return sorted((self.trials[id] for id in ids), key=lambda trial: trial.number)

    def of_group(self, number: int) -> list[TrialRecord]:
        """The trials of a group by number: the order of its members."""
        found = (self.trials[id] for id in self._by_group.get(number, ()))
        return sorted(found, key=lambda trial: trial.number)

    def unfinished_groups(self) -> list[int]:
        """Groups with a trial that is to be trained before anything is decided."""
        return [
            number
            for number, ids in self._by_group.items()
            if any(has_epochs_to_go(self.trials[id]) for id in ids)
        ]

    @property
    def next_group(self) -> int:
        """The next free group number."""
        return max(self._by_group, default=-1) + 1

    def stages_of(self, planned: int) -> list[StageRecord]:
        """The stage that carries out the spec's stage ``planned``, and its expand stages."""
        return [stage for stage in self.stages if stage.planned == planned]

    @property
    def next_position(self) -> int:
        """The position of the next stage that trains; check stages have none."""
        return sum(stage.kind != "check" for stage in self.stages)

    def budgets(self, trial: TrialRecord | NewTrial) -> tuple[int, ...]:
        """The epochs that a trial, and those that it continues, were to train to; first to last."""
        if trial.parent_id is None or not trial.start_epoch:
            return (trial.target_epochs,)
        return (*self.budgets(self.trials[trial.parent_id]), trial.target_epochs)

    def superseded(self) -> set[int]:
        """Ids of trials that another trial continues."""
        return {
            trial.parent_id
            for trial in self.trials.values()
            if trial.parent_id is not None and trial.start_epoch > 0
        }


def has_epochs_to_go(trial: TrialRecord) -> bool:
    """Whether it has not ended, and does not stand at a rung where others are waited for."""
    return trial.state not in FINISHED and trial.epochs < trial.until_epoch


def rank(trials: Iterable[TrialRecord], mode: str) -> list[TrialRecord]:
    """Complete trials, best first, ties by number: what is a result, continued or confirmed."""
    sign = -1.0 if mode == "max" else 1.0
    complete = (t for t in trials if t.state == "complete" and t.value is not None)
    return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def rank_confirmed(trials: Sequence[TrialRecord], mode: str) -> list[TrialRecord]:
    """As ``Frames.best``: first what was repeated, by the mean over its repeats, then the others.

    Repeats with other seeds are no results of their own.
    """
    sign = -1.0 if mode == "max" else 1.0
    values: dict[int | None, list[float]] = defaultdict(list)
    for trial in rank(trials, mode):
        if trial.replicate > 0 and not math.isnan(trial.value or 0.0):
            values[trial.parent_id].append(trial.value or 0.0)
    mean = {parent: sign * fmean(of) for parent, of in values.items()}
    repeated = [trial for trial in trials if trial.id in mean]
    others = [trial for trial in trials if trial.id not in mean and not trial.replicate]
    return [*sorted(repeated, key=lambda t: (mean[t.id], t.number)), *rank(others, mode)]
