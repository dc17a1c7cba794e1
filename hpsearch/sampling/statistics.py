"""Small tests of whether what the best trials have in common is more than chance.

Called by the refiner and the border check; pure functions of their arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DRAWS = 2000


def midranks(places: Sequence[float]) -> NDArray[np.float64]:
    """The rank of each place, from 1; equal places share the mean of their ranks."""
    values = np.asarray(places, dtype=float)
    ordered = np.sort(values)
    first = np.searchsorted(ordered, values, side="left")
    last = np.searchsorted(ordered, values, side="right")
    return (first + last + 1) / 2.0


def concentration_p(
    places: Sequence[float], elite: Sequence[int], generator: np.random.Generator
) -> float:
    """How often chance alone brings as many trials as close together as the elite.

    ``places`` are all N trials' along one parameter, ``elite`` the indices of the m best. A
    permutation test (Fisher, The Design of Experiments, 1935) of the variance of the elite's
    midranks against that of m of the N drawn without replacement; ranks, so that it does not
    matter where the sampler put its trials. p = (1 + draws as narrow) / (1 + draws), which is
    never 0 (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010). 1 for fewer than 2.
    """
    if len(elite) < 2:
        return 1.0
    ranks = midranks(places)
    drawn = _subsets(ranks, len(elite), generator)
    observed = float(np.var(ranks[list(elite)]))
    return _p(int(np.sum(np.var(drawn, axis=1) <= observed + 1e-9)))


def upward_p(
    places: Sequence[float], elite: Sequence[int], generator: np.random.Generator
) -> float:
    """How often chance alone puts as many trials as high as the elite.

    The permutation form of the rank-sum test (Wilcoxon, Biometrics Bulletin 1, 1945): the sum of
    the elite's midranks against that of as many drawn. For the lower end, negate the places.
    """
    if not elite:
        return 1.0
    ranks = midranks(places)
    drawn = _subsets(ranks, len(elite), generator)
    observed = float(np.sum(ranks[list(elite)]))
    return _p(int(np.sum(np.sum(drawn, axis=1) >= observed - 1e-9)))


def absence_p(total: int, elite: int, of_kind: int) -> float:
    """The chance that none of the ``elite`` best of ``total`` trials is one of the ``of_kind``.

    Hypergeometric: C(N - n, k) / C(N, k), for k best and n of a kind among N trials, if being
    best has nothing to do with the kind. Raises ValueError unless both are at most ``total``.
    """
    if not (0 <= elite <= total and 0 <= of_kind <= total):
        raise ValueError(
            f"elite and of_kind must lie between 0 and total, but got {elite}, {of_kind}, {total}"
        )
    return math.comb(total - of_kind, elite) / math.comb(total, elite)


def signed_rank_p(differences: Sequence[float]) -> float:
    """How often chance alone makes the positive differences weigh as much, their signs a coin each.

    The signed-rank test (Wilcoxon, Biometrics Bulletin 1, 1945), one-sided: the sum of the
    midranks of |d| over the positive d. Zeros give half their ranks to each side (zsplit). The
    law of the sum is exact, ties or not: twice a midrank is whole, so it is counted by convolving
    two points a difference.
    """
    values = np.asarray(differences, dtype=float)
    doubled = np.rint(2 * midranks(np.abs(values))).astype(int)
    steps, observed = doubled[values != 0], int(doubled[values > 0].sum())
    law = np.ones(1)
    for step in steps:
        law = (np.pad(law, (0, step)) + np.pad(law, (step, 0))) / 2
    return float(law[observed:].sum())


def run_p(total: int, diverged: int, outermost: int) -> float:
    """The chance that the ``outermost`` trials are all among the ``diverged``, if place is nothing.

    The same hypergeometric: C(N - k, D - k) / C(N, D), for k outermost and D diverged of N.
    """
    if not 0 <= outermost <= diverged <= total:
        raise ValueError(
            f"outermost <= diverged <= total must hold, but got {outermost}, {diverged}, {total}"
        )
    return math.comb(total - outermost, diverged - outermost) / math.comb(total, diverged)


def linear_rank_p(scores: Sequence[float], chosen: Sequence[int]) -> float:
    """How often chance brings a sum of scores as far from its mean as that of the ``chosen``.

    A linear rank test on both sides (Hájek and Šidák, Theory of Rank Tests, 1967), by the normal
    law: a sum of m of the N scores a, drawn without replacement, has mean m ā and variance
    m (N - m) / (N - 1) times that of a, ties or not. With midranks it is Wilcoxon's test of place,
    with their squared distances from the middle Mood's of spread. 1 where scores are all alike.
    """
    values = np.asarray(scores, dtype=float)
    total, count = len(values), len(chosen)
    variance = float(values.var()) * count * (total - count) / max(1, total - 1)
    if variance <= 0:
        return 1.0
    distance = float(values[list(chosen)].sum()) - count * float(values.mean())
    return math.erfc(abs(distance) / math.sqrt(2 * variance))


def rising_p(places: Sequence[float]) -> float:
    """How often chance has places rise with their order as much: Spearman's test on one side.

    By the normal law: the rank correlation of n has standard deviation 1 / sqrt(n - 1). 1 for fewer
    than 2, and where all are alike.
    """
    ranks, order = midranks(places), np.arange(len(places))
    if len(places) < 2 or ranks.min() == ranks.max():
        return 1.0
    correlation = float(np.corrcoef(ranks, order)[0, 1])
    return math.erfc(correlation * math.sqrt((len(places) - 1) / 2)) / 2


def excess_p(total: int, failed: int, drawn: int, least: int) -> float:
    """The chance that ``least`` or more of ``drawn`` are among the ``failed`` of ``total``.

    The hypergeometric tail, Fisher's exact test (The Design of Experiments, 1935) on one side.
    """
    if not (0 <= failed <= total and 0 <= drawn <= total and 0 <= least <= drawn):
        raise ValueError(
            "0 <= failed, drawn <= total and 0 <= least <= drawn must hold, but got "
            f"{failed}, {drawn}, {total}, {least}"
        )
    ways = _log_comb(total, drawn)
    most = min(drawn, failed)
    least = max(least, drawn - (total - failed))  # so many are among them whatever is drawn
    terms = (
        _log_comb(failed, k) + _log_comb(total - failed, drawn - k) - ways
        for k in range(least, most + 1)
    )
    return min(1.0, sum(math.exp(term) for term in terms))


def _log_comb(n: int, k: int) -> float:
    """ln C(n, k): the number itself has thousands of digits where there are thousands of trials."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _subsets(
    ranks: NDArray[np.float64], size: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """``_DRAWS`` subsets of ``size``, each without replacement; shape (draws, size)."""
    keys = generator.random((_DRAWS, len(ranks)), dtype=np.float32)
    chosen = np.argpartition(keys, size - 1, axis=1)[:, :size]
    subsets: NDArray[np.float64] = ranks[chosen]
    return subsets


def _p(as_extreme: int) -> float:
    return (1 + as_extreme) / (1 + _DRAWS)
