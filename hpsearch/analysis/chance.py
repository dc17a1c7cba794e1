"""How much a value moves by chance: over seeds, over folds, from epoch to epoch.

Called by the diagnosis ``noise`` and by ``Frames.best``, which measure alike. Sources: Ng,
Machine Learning Yearning, chapter 7; Bouthillier et al. 2021, arXiv 2103.03098.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ERRORS = 2.0  # standard errors: about 95 %
TAIL = 5  # epochs at the end over which a metric jitters


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A trial's mean over n seeds (``confirmed``), over n folds, or of itself alone (n = 1).

    ``spread`` is the standard deviation of the sample, NaN where n is 1.
    """

    mean: float
    spread: float
    n: int
    confirmed: bool


def pooled(variance_a: float, n_a: int, variance_b: float, n_b: int) -> float:
    """s² of two samples together, [(n - 1) s² + (n' - 1) s'²] / (n + n' - 2); one may be of 1."""
    return ((n_a - 1) * variance_a + (n_b - 1) * variance_b) / (n_a + n_b - 2)


def error_over_seeds(variance: float, n_a: int, n_b: int) -> float:
    """The standard error of the difference of two means: sqrt(s² / n + s² / n')."""
    return math.sqrt(variance / n_a + variance / n_b)


def error_over_folds(spread: float, num_folds: int) -> float:
    """The standard error of a difference of two means over k folds: sqrt(2) s / sqrt(k).

    s is the spread of the best epoch. The folds of two trials are the same, and what is hard about
    one is hard for both: their difference varies by less, so that this is conservative.
    """
    return spread * math.sqrt(2 / num_folds)


def jitter(values_N: Array) -> float:
    """The standard deviation of a metric over its last epochs, its trend taken off; 0 if short."""
    last = values_N[np.isfinite(values_N)][-TAIL:]
    return float(np.diff(last).std() / math.sqrt(2)) if len(last) == TAIL else 0.0


def within_noise(ranked: Sequence[Sample], mode: str, values_N: Array) -> list[bool]:
    """Which of ``ranked``, best first, chance alone may have put behind the best; the best is one.

    Where the best was repeated with other seeds: those that are at most two standard errors
    behind, a trial that was not repeated being one seed. Else two standard errors over its folds,
    else what its objective, ``values_N`` by epoch, jitters by at the end.
    """
    sign, near = -1.0 if mode == "max" else 1.0, [True] * len(ranked)
    for place, each in enumerate(ranked[1:], 1):
        behind = sign * (each.mean - ranked[0].mean)
        near[place] = behind <= _noise(ranked[0], each, values_N)
    return near


def _noise(best: Sample, other: Sample, values_N: Array) -> float:
    if best.confirmed and best.n > 1:
        is_like = other.confirmed and other.n > 1
        n, spread = (other.n, other.spread) if is_like else (1, 0.0)
        variance = pooled(best.spread**2, best.n, spread**2, n)
        return ERRORS * error_over_seeds(variance, best.n, n)
    if not best.confirmed and best.n > 1:
        return ERRORS * error_over_folds(best.spread, best.n)
    return jitter(values_N)
