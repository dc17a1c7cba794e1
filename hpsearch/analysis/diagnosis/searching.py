"""Diagnoses of a search: what is said of it as a whole, and of each finished trial.

Called by ``hpsearch.coordinator.verdict`` at the end of a search, and by ``hpsearch diagnose``
before it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.finding import Finding, peak_rate
from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.analysis.diagnosis.of_search.rules import diagnose_search
from hpsearch.analysis.diagnosis.reading import read_curves
from hpsearch.analysis.diagnosis.rules import diagnose
from hpsearch.storage.records import (
    DATA_READ,
    NewDiagnosis,
    SearchRecord,
    StageRecord,
    TrialRecord,
)
from hpsearch.storage.repository import Repository


def search_diagnoses(
    repository: Repository,
    search: SearchRecord,
    stages: Sequence[StageRecord],
    trials: Sequence[TrialRecord],
    *,
    ended: bool,
) -> list[NewDiagnosis]:
    """First what is said of the search, then of its trials by number.

    Of single trials those count that are complete or diverged; before a search has ``ended``, of
    it is told what is so whatever comes next. A pure function of what is stored: the same after any
    crash.
    """
    curves, contexts = _compared(repository, search, trials)
    found = {
        trial.id: diagnose(curves[trial.id], contexts[trial.id])
        for trial in sorted(trials, key=lambda trial: trial.number)
        if trial.id in curves and is_diagnosed(trial)
    }
    picture = Picture(search=search, stages=stages, trials=trials, curves=curves, findings=found)
    by_id = {trial.id: trial for trial in trials}
    of_trials = [_of_trial(by_id[id], one) for id, findings in found.items() for one in findings]
    return [*diagnose_search(picture, ended=ended), *of_trials]


def trial_diagnoses(
    repository: Repository, search: SearchRecord, trials: Sequence[TrialRecord], trial: TrialRecord
) -> list[NewDiagnosis]:
    """What the curve of one of ``trials`` shows so far, whatever its state."""
    curves, contexts = _compared(repository, search, trials)
    if trial.id not in curves:
        return []
    found = diagnose(curves[trial.id], contexts[trial.id])
    return [_of_trial(trial, finding) for finding in found]


def _compared(
    repository: Repository, search: SearchRecord, trials: Sequence[TrialRecord]
) -> tuple[dict[int, Curve], dict[int, Context]]:
    """The curve of each trial that has one, and what each trial is compared with, by id."""
    curves = read_curves(repository, search.id, search.spec, trials)
    classes = _num_classes(repository, search.id)
    return curves, stage_contexts(trials, curves, search.spec.objective.mode, classes)


def is_diagnosed(trial: TrialRecord) -> bool:
    """Whether a trial has ended in a way that its curve can speak of."""
    return trial.state == "complete" or trial.failure_kind == "diverged"


def _of_trial(trial: TrialRecord, finding: Finding) -> NewDiagnosis:
    return NewDiagnosis(
        kind=finding.kind,
        message=finding.message,
        evidence=finding.evidence,
        trial_id=trial.id,
        stage_id=trial.stage_id,
    )


def stage_contexts(
    trials: Sequence[TrialRecord],
    curves: Mapping[int, Curve],
    mode: str,
    num_classes: int | None,
) -> dict[int, Context]:
    """What each trial is compared with, by its id: the others of its stage."""
    stages: dict[int, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        stages[trial.stage_id].append(trial)
    contexts: dict[int, Context] = {}
    for stage in stages.values():
        ranked = sorted(stage, key=lambda trial: (_distance(trial, mode), trial.number))
        best = ranked[0].value if _distance(ranked[0], mode) < math.inf else None
        rate: float | None = None  # the highest of the trials so far
        for trial in ranked:
            contexts[trial.id] = Context(best=best, better_rate=rate, num_classes=num_classes)
            if _distance(trial, mode) < math.inf and trial.id in curves:
                rate = max(rate or 0.0, peak_rate(curves[trial.id]))
    return contexts


def _distance(trial: TrialRecord, mode: str) -> float:
    """The value of a complete trial, lower is better; infinite for all others."""
    if trial.state != "complete" or trial.value is None or math.isnan(trial.value):
        return math.inf
    return -trial.value if mode == "max" else trial.value


def _num_classes(repository: Repository, search_id: int) -> int | None:
    """C of the data that the search began with, if it was noted and they have classes."""
    noted = [event.data for event in repository.events(search_id) if event.kind == DATA_READ]
    return (noted[0].get("classes") or None) if noted else None
