"""What the parameters did: one that does not matter, and two that trade off.

Rules of ``of_search.rules``. Source: Godbole et al., Deep Learning Tuning Playbook (2023), on which
parameters to search, fix, or tune anew whenever another one changes (nuisance parameters).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hpsearch.analysis.diagnosis.curve import Array
from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.analysis.observing import new_ones, placed_in_stage
from hpsearch.sampling.observations import Observation
from hpsearch.sampling.statistics import excess_p, linear_rank_p, midranks
from hpsearch.spec.reason import CHANGES
from hpsearch.spec.space import Choice, Parameter, Value
from hpsearch.storage.records import NewDiagnosis

LEAST = 100  # trials that have a parameter: then 4 % of the ranks' variance is two standard errors
BEST = 0.1
LEAST_BEST = 10
NO_SIGN_P = 0.1  # of each test; a parameter that matters a little fails at least one of them
LEAST_PAIRED = 40  # trials of a branch
UPPER = 0.25  # the part of them along which two parameters may go together
STRONG = 0.5  # a rank correlation that is seen in a plot
SURE_P = 0.01  # shared among the pairs

_Placed = Sequence[tuple[Observation, float]]


def no_effect(picture: Picture) -> Iterator[NewDiagnosis]:
    """Parameters along which the best lie as all trials do, in place and in spread."""
    placed = _placed(picture)
    found = {
        name: p
        for name, parameter in picture.spec.space.parameters.items()
        if not _was_moved(picture, name)
        if (p := _least_p(name, parameter, placed)) is not None and p > NO_SIGN_P
    }
    if not found:
        return
    names, is_one = ", ".join(found), len(found) == 1
    yield NewDiagnosis(
        kind="no_effect",
        message=f"no sign that {names} {'matters' if is_one else 'matter'} in these ranges: the "
        f"best of {len(placed)} trials lie as all do (p = {min(found.values()):.2g} or more); fix "
        f"{'it' if is_one else 'them'} under train:, and the trials tell more of the others",
        evidence={"parameters": list(found), "p": list(found.values()), "trials": len(placed)},
    )


def trade_off(picture: Picture) -> Iterator[NewDiagnosis]:
    """Two parameters that go together among the best, more than they do among all trials."""
    branches: dict[str, list[tuple[Observation, float]]] = defaultdict(list)
    for one, place in _placed(picture):
        branches[one.branch].append((one, place))
    pairs = [
        pair
        for branch, placed in branches.items()
        if len(placed) >= LEAST_PAIRED
        for pair in _pairs(branch, placed, picture.spec.space.parameters)
    ]
    for pair in pairs:
        if abs(pair.among_best) >= STRONG and pair.p * len(pairs) <= SURE_P:
            yield _told(pair, picture)


def _placed(picture: Picture) -> _Placed:
    """What was tried, with its place within its stage, the best first."""
    tried = new_ones(picture.stages, picture.trials)
    placed = placed_in_stage(picture.spec.objective.mode, picture.stages, tried)
    return sorted(placed, key=lambda one: (one[1], one[0].number))


def _was_moved(picture: Picture, name: str) -> bool:
    reasons = (reason for stage in picture.stages for reason in stage.reasons)
    return any(reason.parameter == name and reason.action in CHANGES for reason in reasons)


def _least_p(name: str, parameter: Parameter, placed: _Placed) -> float | None:
    """The most telling test of where the best lie, and how all are ranked; None for too few.

    No test's chance is corrected for the others: this errs on the side of a parameter that matters.
    """
    having = [(one.params[name], place) for one, place in placed if name in one.params]
    values, ranks = [value for value, _ in having], midranks([place for _, place in having])
    if len(values) < LEAST or all(value == values[0] for value in values):
        return None
    if any(isinstance(one, Choice) for one in parameter.definitions):
        return min(_choice_p(choice, values, ranks) for choice in _distinct(values))
    along = midranks(values)
    spread = (along - along.mean()) ** 2
    return min(_along_p(scores, ranks) for scores in (along, spread))


def _along_p(scores: Array, ranks: Array) -> float:
    """Of scores along a parameter: those of the best, of the better half, and their correlation."""
    all_p = math.erfc(abs(np.corrcoef(scores, ranks)[0, 1]) * math.sqrt((len(ranks) - 1) / 2))
    parts = (linear_rank_p(scores.tolist(), range(size)) for size in _sizes(len(ranks)))
    return min(all_p, *parts)


def _choice_p(choice: Value, values: Sequence[Value], ranks: Array) -> float:
    """Of one choice: how often it is among the best and the better half, and how it is ranked."""
    there = [i for i, value in enumerate(values) if value == choice]
    total, chances = len(values), [linear_rank_p(ranks.tolist(), there)]
    for size in _sizes(total):
        among = sum(i < size for i in there)
        often = excess_p(total, len(there), size, among)
        seldom = excess_p(total, total - len(there), size, size - among)
        chances.append(min(1.0, 2 * min(often, seldom)))
    return min(chances)


def _sizes(total: int) -> tuple[int, int]:
    return max(LEAST_BEST, round(BEST * total)), total // 2


def _distinct(values: Sequence[Value]) -> list[Value]:
    return list({repr(value): value for value in values}.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """Two parameters of a branch: their rank correlation among the best, and among all."""

    branch: str
    names: tuple[str, str]
    best: int
    total: int
    among_best: float
    among_all: float

    @property
    def p(self) -> float:
        """Of their difference, by Fisher's z with Spearman's variance (Fieller et al. 1957)."""
        error = math.sqrt(1.06 / (self.best - 3) + 1.06 / (self.total - 3))
        z = (_fisher(self.among_best) - _fisher(self.among_all)) / error
        return math.erfc(abs(z) / math.sqrt(2))


def _pairs(branch: str, placed: _Placed, parameters: Mapping[str, Parameter]) -> Iterator[_Pair]:
    """Every two parameters of a branch whose values have an order."""
    best = round(UPPER * len(placed))
    ordered: dict[str, list[float]] = {}
    for name, parameter in parameters.items():
        values = [one.params.get(name) for one, _ in placed]
        if _has_order(parameter, values) and len({*values[:best]}) > 1:
            ordered[name] = [float(value) for value in values if value is not None]
    for (first, one), (second, other) in combinations(ordered.items(), 2):
        yield _Pair(
            branch=branch,
            names=(first, second),
            best=best,
            total=len(placed),
            among_best=_correlation(one[:best], other[:best]),
            among_all=_correlation(one, other),
        )


def _has_order(parameter: Parameter, values: Sequence[Value]) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and bool(parameter.definitions)


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's: that of the midranks."""
    return float(np.corrcoef(midranks(one), midranks(other))[0, 1])


def _fisher(correlation: float) -> float:
    return math.atanh(max(-0.999, min(0.999, correlation)))


def _told(pair: _Pair, picture: Picture) -> NewDiagnosis:
    first, second = pair.names
    way = "larger" if pair.among_best > 0 else "smaller"
    advice = f"change them together, for the best {first} is that of one {second}"
    is_scaled = {*pair.names} == {"learning_rate", "batch_size"} and pair.among_best > 0
    if is_scaled and picture.spec.trainable is None:
        advice = "train: {lr_scaling: linear} makes one rate right for all batch sizes"
    return NewDiagnosis(
        kind="trade_off",
        message=f"{pair.branch}: among the best {pair.best} of {pair.total} trials, the larger "
        f"{first}, the {way} {second} (rank correlation {pair.among_best:.2f}, among all "
        f"{pair.among_all:.2f}): they trade off; {advice}",
        evidence={
            **{"branch": pair.branch, "parameters": list(pair.names), "best": pair.best},
            **{"trials": pair.total, "among_best": pair.among_best},
            **{"among_all": pair.among_all, "p": pair.p},
        },
    )
