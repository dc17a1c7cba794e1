"""The best of n trials that one may expect: whether more trials would have paid.

Called by ``Frames.best_of_n``. Source: Dodge et al. 2019, Show Your Work, arXiv 1909.03004.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hpsearch.analysis.chance import Array
from hpsearch.analysis.columns import to_array
from hpsearch.analysis.layout import BEST_OF_N

SHOWN = 100  # values of n, all of them or so many in even ratios
LOW, HIGH = 0.05, 0.95


def best_of_n(values: Sequence[float | None], mode: str) -> pd.DataFrame:
    """For each n, what a bootstrap of the trials gives for the best of n; columns as BEST_OF_N.

    With F the distribution of the N values, the best of n that are drawn from them with replacement
    has the distribution F^n. So no draws are needed: over the values from the worst up,
    ``expected`` is sum v_i [(i/N)^n - ((i-1)/N)^n], and ``low`` and ``high`` are the quantiles 0.05
    and 0.95. None and NaN, of trials that failed, count as the worst value. ``gain`` is by how much
    n are better than n // 2; NaN for n = 1. Near N all are too narrow: nothing is known of what was
    not drawn.
    """
    sign = 1.0 if mode == "max" else -1.0
    all_N = sign * np.array(values, dtype=np.float64)
    known = np.sort(all_N[~np.isnan(all_N)])
    if not len(known):
        return pd.DataFrame({name: to_array([], dtype) for name, dtype in BEST_OF_N.items()})
    ranked_N = np.concatenate([np.full(len(all_N) - len(known), known[0]), known])
    rows = [_of(ranked_N, n) for n in _shown(len(ranked_N))]
    columns = dict(zip(BEST_OF_N, zip(*rows, strict=True), strict=True))
    frame = pd.DataFrame({name: to_array(columns[name], of) for name, of in BEST_OF_N.items()})
    if sign < 0:
        frame = frame.assign(expected=-frame.expected, low=-frame.high, high=-frame.low)
    return frame


def _of(ranked_N: Array, n: int) -> tuple[int, float, float, float, float]:
    size = len(ranked_N)
    # The least value of which F^n is q: that of rank ceil(N q^(1/n)).
    low, high = (ranked_N[int(np.ceil(size * q ** (1 / n) - 1e-9)) - 1] for q in (LOW, HIGH))
    expected = _expected(ranked_N, n)
    gain = expected - _expected(ranked_N, n // 2) if n > 1 else np.nan
    return n, expected, float(low), float(high), gain


def _expected(ranked_N: Array, n: int) -> float:
    below = (np.arange(len(ranked_N) + 1) / len(ranked_N)) ** n
    return float(np.diff(below) @ ranked_N)


def _shown(most: int) -> list[int]:
    if most <= SHOWN:
        return list(range(1, most + 1))
    return [int(n) for n in np.unique(np.geomspace(1, most, SHOWN).round())]
