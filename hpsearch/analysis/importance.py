"""Which parameters matter, by PED-ANOVA, and what the same measure gives by chance.

Called by ``Frames.importance`` and the report. Sources: Watanabe, Bansal and Hutter, "PED-ANOVA:
Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces", IJCAI 2023,
arXiv:2304.10255; the permutation test, Fisher, The Design of Experiments, 1935.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hpsearch.analysis.columns import to_frame
from hpsearch.analysis.observing import new_and_repeats, observe, placed_in_stage
from hpsearch.analysis.ped_anova import Along, Bools, Grid
from hpsearch.sampling.border import united
from hpsearch.sampling.keyed import keyed_generator
from hpsearch.spec.space import (
    Definition,
    Parameter,
    Params,
    Range,
    Space,
    Value,
    active_definitions,
)
from hpsearch.storage.records import SearchRecord, StageRecord, TrialRecord

BEST = 0.1  # of the trials; where they lie is held against where all lie
LEAST_BEST = 20  # among fewer, chance hides all but the strongest parameters
MOST_BEST = 1 / 3  # of the trials, whatever the least: more are no small part of all
LEAST = 20  # trials of which anything is told
SHUFFLES = 999
SURE = 0.95  # of the shuffles give no more than what is called chance
WITHIN = "no more than chance gives: these trials do not tell whether it matters"
IMPORTANCE = {
    "parameter": "string",
    "importance": "float64",
    "chance": "float64",
    "beyond_chance": "boolean",
    "n": "Int64",
    "merged": "Int64",
    "note": "string",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """Of one parameter: its share, those of all adding up to 1, or None and why there is none.

    ``chance`` is what 95 of 100 shuffles of its values among the trials do not exceed, on the scale
    of the share; it may be above 1 where none decides. ``n`` are the trials in which it was varied,
    ``merged`` those that go on with one of them or repeat it.
    """

    parameter: str
    share: float | None
    chance: float | None = None
    n: int
    merged: int = 0
    note: str | None = None

    @property
    def beyond_chance(self) -> bool | None:
        """Whether the share is more than what shuffling gives; None where there is no share."""
        if self.share is None or self.chance is None:
            return None
        return self.share > self.chance * (1 + 1e-9)  # counts of few choices are often equal


def importance_frame(
    search: SearchRecord, stages: Sequence[StageRecord], trials: Sequence[TrialRecord]
) -> pd.DataFrame:
    """What :func:`importances` gives, a row a parameter."""
    rows = [
        (one.parameter, one.share, one.chance, one.beyond_chance, one.n, one.merged, one.note)
        for one in importances(search, stages, trials)
    ]
    return to_frame(rows, IMPORTANCE)


def importances(
    search: SearchRecord, stages: Sequence[StageRecord], trials: Sequence[TrialRecord]
) -> list[Importance]:
    """The parameters beyond chance, then those within it, then those without a number.

    Of a trial counts its place among all trials of its stage (with the stage's expand stages), as
    those of other stages had other epochs; those that diverged share the last place. A trial that
    goes on with the params of another, or repeats it, says nothing new and is merged with it. A
    parameter that is conditional is judged over the trials that have it.
    """
    new, again = new_and_repeats(stages, trials)
    placed = list(placed_in_stage(search.spec.objective.mode, stages, new))
    repeated = [one.params for one in observe(again) if one.judged]
    params, space = [one.params for one, _ in placed], search.spec.space
    found = [_counted(name, params, repeated) for name in space.parameters]
    best_N = _best([place for _, place in placed])
    measured = {
        one.parameter: _measure(one.parameter, _along(one.parameter, space, params, stages), best_N)
        for one in found
        if one.note is None
    }
    total = sum(far for far, _ in measured.values()) or 1.0  # 0 where all trials are equals
    told = [_told(one, measured, total) for one in found]
    return sorted(told, key=_order)


def _counted(name: str, params: Sequence[Params], repeated: Iterable[Params]) -> Importance:
    """In how many trials a parameter was varied, and why nothing can be told of it, if so."""
    values = [each[name] for each in params if name in each]
    merged = sum(name in each for each in repeated)
    note = _note(len(params), values, merged)
    return Importance(parameter=name, share=None, n=len(values), merged=merged, note=note)


def _note(total: int, values: Sequence[Value], merged: int) -> str | None:
    """Why nothing can be told of a parameter that had these values, or None if it can be."""
    if len(values) < LEAST:
        needed = f"at least {LEAST} trials are needed to tell, but"
        return f"{needed} {_have(total, len(values))}{_more(merged)}"
    if all(value == values[0] for value in values):
        return "all trials have the same value of it"
    return None


def _have(total: int, count: int) -> str:
    verb = "has" if count == 1 else "have"
    if count == total:
        return f"{count or 'none'} {verb} ended"
    return f"{count or 'none'} of {total} {verb} it"


def _more(merged: int) -> str:
    """That trials which were merged with others are not among those that count."""
    if merged == 0:
        return ""
    repeat = "repeats or goes on with one" if merged == 1 else "repeat or go on with some"
    return f"; {merged} more {repeat} of these, which tells nothing new"


def _best(places: Sequence[float]) -> Bools:
    """Which trials are among the best: those that equal the last of them too, as Optuna has it."""
    if not places:
        return np.zeros(0, dtype=bool)
    count = math.ceil(max(BEST, min(LEAST_BEST / len(places), MOST_BEST)) * len(places))
    return np.asarray(places) <= sorted(places)[count - 1]


def _measure(name: str, along: Along, best_N: Bools) -> tuple[float, float]:
    """How far the best are from all, and what 95 of 100 shuffles of the values do not exceed.

    Keyed by the parameter's name: the same trials give the same numbers.
    """
    if best_N.all():  # no trial is better than others
        return 0.0, 0.0
    best_G = along.counts(best_N)
    shuffled_BG = along.shuffled(best_G, SHUFFLES, keyed_generator("importance", name))
    found_B = along.divergences(np.vstack([best_G, shuffled_BG]))
    return float(found_B[0]), float(np.quantile(found_B[1:], SURE, method="higher"))


def _told(one: Importance, measured: Mapping[str, tuple[float, float]], total: float) -> Importance:
    """With its share and that of chance; one within chance with a note that says so."""
    if one.parameter not in measured:
        return one
    far, by_chance = measured[one.parameter]
    told = replace(one, share=far / total, chance=by_chance / total)
    return told if told.beyond_chance else replace(told, note=WITHIN)


def _order(one: Importance) -> tuple[bool, bool, float]:
    return one.share is None, not one.beyond_chance, -(one.share or 0.0)


def _along(
    name: str, space: Space, params: Sequence[Params], stages: Iterable[StageRecord]
) -> Along:
    """Where each trial lies along a parameter.

    One that has several definitions, each under a condition, is judged within each: trials of
    different ranges are never held against one another.
    """
    parameter = space.parameters[name]
    grids = [Grid(definition=one) for one in _definitions(name, parameter, stages)]
    which_N = np.array([_index(parameter, each) if name in each else len(grids) for each in params])
    firsts = np.cumsum([0, *(grid.size for grid in grids)])
    cells_N = np.full(len(params), firsts[-1])
    for index, grid in enumerate(grids):
        those = np.flatnonzero(which_N == index).tolist()
        cells_N[those] = firsts[index] + grid.places([params[i][name] for i in those])
    return Along(grids=tuple(grids), cells_N=cells_N)


def _definitions(
    name: str, parameter: Parameter, stages: Iterable[StageRecord]
) -> list[Definition]:
    """Each definition of a parameter, over all ranges that it had."""
    wide = list(parameter.definitions)
    for branch in (branch for stage in stages for branch in stage.branches):
        searched = branch.parameters.get(name)
        if isinstance(searched, Range):
            index = _index(parameter, branch.fixed)
            wide[index] = united(wide[index], searched)
    return wide


def _index(parameter: Parameter, params: Mapping[str, Value]) -> int:
    """Which of the parameter's definitions holds."""
    (active, *_) = active_definitions(parameter, params) or parameter.definitions
    return parameter.definitions.index(active)
