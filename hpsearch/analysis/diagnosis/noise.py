"""Whether the best trials of a search differ by more than chance: over seeds, folds or epochs.

Called by ``searching`` once a search. Sources: Ng, Machine Learning Yearning, chapter 7;
Bouthillier et al. 2021, arXiv 2103.03098 (variance of benchmarks).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpsearch.analysis.chance import (
    ERRORS,
    error_over_folds,
    error_over_seeds,
    jitter,
    pooled,
)
from hpsearch.analysis.diagnosis.curve import Curve
from hpsearch.storage.records import NewDiagnosis, TrialRecord

COMPARED = 10  # of the best trials


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A trial that was repeated with n other seeds: the mean and the variance of their values."""

    number: int
    mean: float
    variance: float
    n: int


def too_close(
    trials: Sequence[TrialRecord], curves: Mapping[int, Curve], mode: str, num_folds: int = 1
) -> NewDiagnosis | None:
    """A diagnosis ``noise`` if the best two trials differ by less than chance does.

    Over seeds where two trials were repeated (a confirm stage): their means are within two standard
    errors, sqrt(s²/n + s²/n') with the pooled variance s². Else of single values: they are within
    two standard errors over the ``num_folds`` folds, or else within what the objective jumps by
    from epoch to epoch at the end; there, how many of the best ten are as near.
    """
    repeated = _repeated(trials, mode)
    if len(repeated) >= 2:
        return _over_seeds(repeated[0], repeated[1])
    ranked = _uncontinued(trials, curves, mode)[:COMPARED]
    return _single(ranked, curves, num_folds) if len(ranked) >= 2 else None


def _repeated(trials: Sequence[TrialRecord], mode: str) -> list[_Repeated]:
    values: dict[int, list[float]] = defaultdict(list)
    for trial in trials:
        is_repeat = trial.replicate > 0 and trial.state == "complete"
        if is_repeat and trial.parent_id is not None and trial.value is not None:
            values[trial.parent_id].append(trial.value)
    numbers = {trial.id: trial.number for trial in trials}
    found = [
        _Repeated(numbers[parent], float(np.mean(of)), float(np.var(of, ddof=1)), len(of))
        for parent, of in values.items()
        if len(of) >= 2
    ]
    sign = -1.0 if mode == "max" else 1.0
    return sorted(found, key=lambda repeat: (sign * repeat.mean, repeat.number))


def _over_seeds(best: _Repeated, second: _Repeated) -> NewDiagnosis | None:
    difference = abs(best.mean - second.mean)
    variance = pooled(best.variance, best.n, second.variance, second.n)
    error = error_over_seeds(variance, best.n, second.n)
    if difference >= ERRORS * error:
        return None
    needed = "" if difference == 0 else f" ({_needed(variance, difference)} seeds would tell)"
    return NewDiagnosis(
        kind="noise",
        message=f"numbers {best.number} and {second.number} differ by {difference:.2g} over their "
        f"seeds, which is within two standard errors ({ERRORS * error:.2g}): which is better is "
        f"not settled; take the cheaper one, or repeat them more often{needed}",
        evidence={"difference": difference, "standard_error": error, "seeds": best.n},
    )


def _needed(variance: float, difference: float) -> int:
    """Seeds for each so that the difference is two standard errors: n = 2 s² (2 / d)²."""
    return max(3, math.ceil(2 * variance * (ERRORS / difference) ** 2))


def _uncontinued(
    trials: Sequence[TrialRecord], curves: Mapping[int, Curve], mode: str
) -> list[TrialRecord]:
    """Complete trials that no other continues, without repeats, best first, ties by number."""
    continued = {trial.parent_id for trial in trials if trial.start_epoch > 0}
    sign = -1.0 if mode == "max" else 1.0
    complete = [
        trial
        for trial in trials
        if trial.state == "complete" and trial.value is not None and trial.id in curves
        if not trial.replicate
    ]
    left = [trial for trial in complete if trial.id not in continued]
    return sorted(left, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def _single(
    ranked: Sequence[TrialRecord], curves: Mapping[int, Curve], num_folds: int
) -> NewDiagnosis | None:
    best = ranked[0]
    if best.spread is None:
        noise, source = _over_epochs(curves[best.id])
    else:
        noise, source = _over_folds(best.spread, num_folds)
    behind = [abs((trial.value or 0.0) - (best.value or 0.0)) for trial in ranked[1:]]
    near = sum(difference < noise for difference in behind)
    if not near:
        return None
    return NewDiagnosis(
        kind="noise",
        message=f"number {best.number} is the best by {behind[0]:.2g}, but {source} "
        f"{noise:.2g}, and {near} more of the best {len(ranked)} are as near: repeat them with "
        "other seeds (a confirm stage) before choosing",
        evidence={"difference": behind[0], "noise": noise, "near": near},
    )


def _over_folds(spread: float, num_folds: int) -> tuple[float, str]:
    error = error_over_folds(spread, num_folds)
    return ERRORS * error, f"two standard errors over the {num_folds} folds are"


def _over_epochs(curve: Curve) -> tuple[float, str]:
    return jitter(curve.known(curve.objective)), "from epoch to epoch at its end it moves by"
