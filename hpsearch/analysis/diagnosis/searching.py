"""Diagnoses of a whole search: each finished trial's, and whether its best trials differ at all.

Called by ``hpsearch.coordinator.verdict`` at the end of a search, and by ``hpsearch diagnose``
before it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.finding import peak_rate
from hpsearch.analysis.diagnosis.noise import too_close
from hpsearch.analysis.diagnosis.reading import read_curves
from hpsearch.analysis.diagnosis.rules import diagnose
from hpsearch.storage.records import DATA_READ, NewDiagnosis, SearchRecord, TrialRecord
from hpsearch.storage.repository import Repository


def curve_diagnoses(
    repository: Repository, search: SearchRecord, trials: Sequence[TrialRecord]
) -> list[NewDiagnosis]:
    """First what is said of the search, then of its trials by number.

    Trials count when they are complete or diverged. A pure function of what is stored: the same
    after any crash.
    """
    curves = read_curves(repository, search.id, search.spec, trials)
    num_folds = search.spec.data.rows_per_trial
    close = too_close(trials, curves, search.spec.objective.mode, num_folds)
    num_classes = _num_classes(repository, search.id)
    contexts = stage_contexts(trials, curves, search.spec.objective.mode, num_classes)
    found = [] if close is None else [close]
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.id in curves and is_diagnosed(trial):
            found += _of_trial(trial, curves[trial.id], contexts[trial.id])
    return found


def is_diagnosed(trial: TrialRecord) -> bool:
    """Whether a trial has ended in a way that its curve can speak of."""
    return trial.state == "complete" or trial.failure_kind == "diverged"


def _of_trial(trial: TrialRecord, curve: Curve, context: Context) -> Iterator[NewDiagnosis]:
    for finding in diagnose(curve, context):
        yield NewDiagnosis(
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
