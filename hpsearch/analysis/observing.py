"""Stored stages and trials as samplers, the refiner and the rules about a whole search see them.

Called by the coordinator and by this room; storage and sampling know nothing of each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from hpsearch.sampling.border import merge
from hpsearch.sampling.observations import Mode, Observation, ranked
from hpsearch.sampling.statistics import midranks
from hpsearch.spec.space import Branch
from hpsearch.storage.records import StageRecord, TrialRecord


def observe(trials: Iterable[TrialRecord]) -> list[Observation]:
    """Finished trials, pruned ones too."""
    return [
        Observation(
            branch=trial.branch,
            params=trial.params,
            value=trial.value,
            state=trial.state,
            failure_kind=trial.failure_kind,
            number=trial.number,
        )
        for trial in trials
        if trial.state == "complete" or trial.state == "pruned" or trial.state == "failed"
    ]


def explored(stages: Sequence[StageRecord]) -> tuple[Branch, ...]:
    """The ranges that a stage of the spec has covered, its expand stages included."""
    first, *extensions = stages
    branches = first.branches
    for extension in extensions:
        branches = merge(branches, extension.branches)
    return branches


def new_ones(stages: Iterable[StageRecord], trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that tried something: no repeats, and none that goes on with the same params."""
    return new_and_repeats(stages, trials)[0]


def new_and_repeats(
    stages: Iterable[StageRecord], trials: Sequence[TrialRecord]
) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """Those that tried something, and those that repeat one or go on with it; none of a check."""
    of_check = {stage.id for stage in stages if stage.kind == "check"}
    params = {trial.id: trial.params for trial in trials}
    found: tuple[list[TrialRecord], list[TrialRecord]] = [], []
    for trial in trials:
        if trial.stage_id not in of_check:
            is_repeat = trial.parent_id is not None and params.get(trial.parent_id) == trial.params
            found[is_repeat].append(trial)
    return found


def placed_in_stage(
    mode: Mode, stages: Sequence[StageRecord], trials: Sequence[TrialRecord]
) -> Iterator[tuple[Observation, float]]:
    """Each judged trial with its place within its stage: between 0, for the best, and 1.

    That of the middle of its rank, so that stages of any number of trials can be compared.
    """
    planned = {stage.id: stage.planned for stage in stages}
    by_stage: dict[int, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        by_stage[planned[trial.stage_id]].append(trial)
    for of_stage in by_stage.values():
        ordered = ranked(observe(of_stage), mode)
        ranks = midranks([-one.score(mode) for one in ordered])
        places = (ranks - 0.5) / max(1, len(ordered))
        yield from zip(ordered, places.tolist(), strict=True)
