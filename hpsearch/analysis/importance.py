"""Which parameters matter: PED-ANOVA over a search's trials, by Optuna.

Called by ``Frames.importance``. Source: Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently
Quantifying Hyperparameter Importance in Arbitrary Subspaces", IJCAI 2023, arXiv:2304.10255.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, create_trial

from hpsearch.analysis.columns import to_frame
from hpsearch.analysis.observing import new_ones, placed_in_stage
from hpsearch.sampling.border import united
from hpsearch.sampling.encoding import distribution, encode
from hpsearch.sampling.observations import Observation
from hpsearch.sampling.studies import new_study, quiet
from hpsearch.spec.space import Definition, Parameter, Range, Space, Value, active_definitions
from hpsearch.storage.records import SearchRecord, StageRecord, TrialRecord

BEST = 0.1  # of the trials; where they lie is held against where all lie
LEAST_BEST = 5  # Optuna's own advice for this evaluator
IMPORTANCE = {
    "parameter": "string",
    "importance": "float64",
    "n": "Int64",
    "note": "string",
}
_Case = tuple[Definition, BaseDistribution]
LEAST = 4 * LEAST_BEST  # trials: with fewer, the best are no small part of all


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """Of one parameter: its share, those of all adding up to 1, or None and why there is none.

    ``n`` are the trials in which it was varied.
    """

    parameter: str
    share: float | None
    n: int
    note: str | None = None


def importance_frame(
    search: SearchRecord, stages: Sequence[StageRecord], trials: Sequence[TrialRecord]
) -> pd.DataFrame:
    """What :func:`importances` gives, a row a parameter."""
    found = importances(search, stages, trials)
    return to_frame([(one.parameter, one.share, one.n, one.note) for one in found], IMPORTANCE)


def importances(
    search: SearchRecord, stages: Sequence[StageRecord], trials: Sequence[TrialRecord]
) -> list[Importance]:
    """The parameters of a search, the most important first, those without a number last.

    Of a trial counts its place among all trials of its stage (with the stage's expand stages), as
    those of other stages had other epochs; those that diverged share the last place. A trial that
    goes on with the params of another, or repeats it, says nothing new and is left out. A parameter
    that is conditional is judged over the trials that have it.
    """
    placed = list(placed_in_stage(search.spec.objective.mode, stages, new_ones(stages, trials)))
    space = search.spec.space
    seen = {name: _seen(name, placed) for name in space.parameters}
    notes = {name: _note(len(placed), values) for name, values in seen.items()}
    told = [name for name, note in notes.items() if note is None]
    shares = _shares(told, space, placed, stages) if told else {}
    found = [
        Importance(parameter=name, share=shares.get(name), n=len(seen[name]), note=notes[name])
        for name in space.parameters
    ]
    return sorted(found, key=lambda one: 1.0 if one.share is None else -one.share)


def _seen(name: str, placed: Iterable[tuple[Observation, float]]) -> list[Value]:
    return [one.params[name] for one, _ in placed if name in one.params]


def _note(total: int, values: Sequence[Value]) -> str | None:
    """Why nothing can be told of a parameter that had these values, or None if it can be."""
    if len(values) < LEAST:
        have = "have ended" if len(values) == total else f"of {total} have it"
        return f"at least {LEAST} trials are needed to tell, but {len(values)} {have}"
    if all(value == values[0] for value in values):
        return "all trials have the same value of it"
    return None


def _shares(
    names: Sequence[str],
    space: Space,
    placed: Sequence[tuple[Observation, float]],
    stages: Sequence[StageRecord],
) -> dict[str, float]:
    """The importance of each parameter; all 0 where no trials are better than others."""
    cases = {name: _cases(name, space.parameters[name], stages) for name in names}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(BEST, LEAST_BEST / len(placed)))
    with quiet():
        study = new_study(RandomSampler(seed=0), "min")
        study.add_trials([_frozen(one, place, space, cases) for one, place in placed])
        raw = evaluator.evaluate(study, params=list(names))
    total = sum(raw.values())
    return {name: value / total if total > 0 else 0.0 for name, value in raw.items()}


def _frozen(
    one: Observation, place: float, space: Space, cases: Mapping[str, Sequence[_Case]]
) -> FrozenTrial:
    """A trial for Optuna, in whose parameters a choice is an index, and a power its exponent."""
    params, distributions = {}, {}
    for name in cases.keys() & one.params.keys():
        definition, distributions[name] = cases[name][_index(space.parameters[name], one.params)]
        params[name] = encode(definition, one.params[name])
    return create_trial(params=params, distributions=distributions, value=place)


def _cases(name: str, parameter: Parameter, stages: Iterable[StageRecord]) -> list[_Case]:
    """Each definition of a parameter over all ranges that it had, with Optuna's distribution.

    One that has several, each under a condition, is judged within each: trials of different
    distributions are never held against one another.
    """
    wide = list(parameter.definitions)
    for branch in (branch for stage in stages for branch in stage.branches):
        searched = branch.parameters.get(name)
        if isinstance(searched, Range):
            index = _index(parameter, branch.fixed)
            wide[index] = united(wide[index], searched)
    return [(definition, distribution(definition)) for definition in wide]


def _index(parameter: Parameter, params: Mapping[str, Value]) -> int:
    """Which of the parameter's definitions holds."""
    (active, *_) = active_definitions(parameter, params) or parameter.definitions
    return parameter.definitions.index(active)
