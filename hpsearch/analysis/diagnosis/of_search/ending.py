"""How the best trials end: still improving, long past their best, overfit, or too close to tell.

Rules of ``of_search.rules``. Sources: Godbole et al., Deep Learning Tuning Playbook (2023),
"Examining the training curves" (are the best overfit, does the best checkpoint come last or early)
and "Deciding how long to train"; Ng, Machine Learning Yearning, chapters 20 to 27.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from hpsearch.analysis.diagnosis.curve import Array, Curve
from hpsearch.analysis.diagnosis.noise import too_close
from hpsearch.analysis.diagnosis.of_search.picture import BEST, Picture
from hpsearch.storage.records import NewDiagnosis, TrialRecord
from workers.metrics import OBJECTIVES

LEAST = 5  # of the best trials: fewer agree by chance
MOST = 0.75  # of the best trials: of one that goes nowhere the best epoch is in any quarter
LEAST_EPOCHS = 4  # to speak of a last quarter
ENOUGH_GAIN = 0.05  # of the error: less is no reason to pay for twice as long
ANNEALED = 0.1  # of the highest rate: what improves under it has been cooled, and comes to rest
EARLY = 0.1  # of the epochs
LEAST_LONG = 20  # epochs that have a tenth of at least two
OVERFIT = ("overfitting", "stop_early")  # what rules of one curve call it
REGULARIZERS = ("weight_decay", "dropout", "l1", "label_smoothing", "mixup")


def noise(picture: Picture) -> Iterator[NewDiagnosis]:
    """The best two differ by less than chance does."""
    spec = picture.spec
    found = too_close(picture.trials, picture.curves, spec.objective.mode, spec.data.rows_per_trial)
    if found is not None:
        yield found


def train_longer(picture: Picture) -> Iterator[NewDiagnosis]:
    """The best trials of the last stage were still improving when their epochs were over."""
    best = _whole_curves(picture)
    gains = [_late_gain(picture, curve) for _, curve in best]
    late = [gain for gain in gains if gain is not None]
    if len(best) < LEAST or len(late) < MOST * len(best):
        return
    last, epochs = picture.planned[-1], best[0][0].target_epochs
    yield NewDiagnosis(
        kind="train_longer",
        message=f"{len(late)} of the best {len(best)} trials of stage {picture.name(last)} had "
        f"their best epoch in the last quarter of {epochs}, better by "
        f"{statistics.median(late):.2g} (median) than all before: train longer "
        f"(epochs: {2 * epochs} for stage {picture.name(last)})",
        evidence={
            **{"late": len(late), "best": len(best), "epochs": epochs},
            **{"gain": statistics.median(late)},
        },
        stage_id=picture.stages_of(last)[0].id,
    )


def train_shorter(picture: Picture) -> Iterator[NewDiagnosis]:
    """The best trials of the last stage had their best epoch in the first tenth."""
    best = _whole_curves(picture)
    places = [trial.best_epoch or trial.epochs for trial, _ in best]
    early = [at for at, (trial, _) in zip(places, best, strict=True) if at <= EARLY * trial.epochs]
    shortest = min((len(curve) for _, curve in best), default=0)
    if len(best) < LEAST or len(early) < MOST * len(best) or shortest < LEAST_LONG:
        return
    last, needed = picture.planned[-1], 2 * max(early)
    patience = f", or train: {{patience: {needed}}}," * (picture.spec.trainable is None)
    yield NewDiagnosis(
        kind="train_shorter",
        message=f"{len(early)} of the best {len(best)} trials of stage {picture.name(last)} had "
        f"their best epoch in the first tenth (by epoch {max(early)} of {shortest}): that is far "
        f"too long; epochs: {needed} for stage {picture.name(last)}{patience} pays for more trials",
        evidence={"early": len(early), "best": len(best), "epochs": shortest, "by": max(early)},
        stage_id=picture.stages_of(last)[0].id,
    )


def best_overfit(picture: Picture) -> Iterator[NewDiagnosis]:
    """Half of the ten best trials fit the training part better than they generalize."""
    best = list(picture.last()[:BEST])
    overfit = [t for t in best if _kinds(picture, t) & {*OVERFIT}]
    if len(overfit) < LEAST:
        return
    has = [name for name in REGULARIZERS if name in picture.spec.space.parameters]
    advice = (
        f"raise the upper end of space.{has[0]}"
        if has
        else "search for how much to regularize, space: {weight_decay: {log_uniform: [1e-5, 0.1]},"
        " dropout: {uniform: [0, 0.5]}}"
    )
    last = picture.planned[-1]
    yield NewDiagnosis(
        kind="best_overfit",
        message=f"{len(overfit)} of the best {len(best)} trials of stage {picture.name(last)} "
        f"overfit, number {overfit[0].number} first: {advice}, augment, or take more data",
        evidence={"overfit": len(overfit), "best": len(best)},
        stage_id=picture.stages_of(last)[0].id,
    )


def _kinds(picture: Picture, trial: TrialRecord) -> set[str]:
    return {finding.kind for finding in picture.findings.get(trial.id, ())}


def _whole_curves(picture: Picture) -> list[tuple[TrialRecord, Curve]]:
    """The best trials of the last stage that came to the end of their epochs, with their curves."""
    whole = [trial for trial in picture.last() if not trial.stopped_early]
    return [(t, picture.curves[t.id]) for t in whole[:BEST] if t.id in picture.curves]


def _late_gain(picture: Picture, curve: Curve) -> float | None:
    """How much better the last quarter is than all before it; None if not worth more epochs."""
    values = curve.known(curve.objective)
    quarter = math.ceil(len(values) / 4)
    if len(values) < LEAST_EPOCHS or _is_annealed(curve):
        return None
    pick = max if picture.spec.objective.mode == "max" else min
    before, after = float(pick(values[:-quarter])), float(pick(values[-quarter:]))
    gain = picture.gain(before, after)
    return gain if gain > ENOUGH_GAIN * _error(picture, values, before) else None


def _error(picture: Picture, values: Array, before: float) -> float:
    """What is left to gain; of an objective that is none of ours, what was gained so far."""
    objective = picture.spec.objective
    if objective.metric not in OBJECTIVES:
        return abs(before - float(values[0]))
    return 1 - before if objective.mode == "max" else abs(before)


def _is_annealed(curve: Curve) -> bool:
    rates = curve.known("learning_rate")
    return bool(len(rates)) and float(rates[-1]) <= ANNEALED * float(rates.max())
