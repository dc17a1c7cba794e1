"""The samplers that Optuna draws: random, TPE and GP from a study rebuilt for each generation.

Called by ``BranchSampler``; a study holds one branch, so its space is flat.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hpsearch.sampling.encoding import decode, distribution, encode, holds, merged
from hpsearch.sampling.keyed import keyed_seed
from hpsearch.sampling.observations import Mode, Observation
from hpsearch.spec.space import Branch, Params

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

_STARTUP_TRIALS = 10  # Optuna's own default: as many random trials before a model is fitted
_LARGEST = 1e100  # of a value's magnitude, so that squares and differences of values stay finite
_PENALTY = 0.1  # of the spread of the values seen


def study_trials(
    kind: str,
    branch: Branch,
    *,
    seed: int,
    mode: Mode,
    prior: Sequence[Observation],
    generations: Sequence[Sequence[Observation]],
    count: int,
) -> list[Params]:
    """The next ``count`` trials of random, tpe or gp, as a function of the arguments alone.

    A fresh sampler is keyed by the generation's index and told everything from the start; within
    the generation, the trials asked before count as running, which Optuna's TPE takes as bad (a
    constant liar) and its GP integrates over (qLogEI).
    """
    seen = [*prior, *(one for generation in generations for one in generation)]
    key = keyed_seed(seed, branch.key, len(generations))
    with quiet():
        study = new_study(_sampler(kind, key, has_prior=bool(prior)), mode)
        space = space_of(branch)
        if kind == "random":
            return [decoded(branch, drawn) for drawn in _draws(study, space, count)]
        study.add_trials(finished_trials(branch, seen, mode))
        return [decoded(branch, study.ask(space).params) for _ in range(count)]


def _draws(
    study: Study, space: Mapping[str, BaseDistribution], count: int
) -> Iterator[dict[str, Any]]:
    """What the study's sampler, one that looks at no trial, draws for ``count`` of them.

    The same as asking the study for each, but for the books that it would keep on them.
    """
    points = study.ask({name: one for name, one in space.items() if one.single()}).params
    (trial,) = study.get_trials(deepcopy=False)
    draw = study.sampler.sample_independent
    for _ in range(count):
        drawn = {n: draw(study, trial, n, one) for n, one in space.items() if n not in points}
        yield {**points, **drawn}


def _sampler(kind: str, seed: int, *, has_prior: bool) -> BaseSampler:
    from optuna.samplers import GPSampler, RandomSampler, TPESampler

    startup = 1 if has_prior else _STARTUP_TRIALS
    if kind == "gp":
        return GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
    if kind == "tpe":
        return TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
    return RandomSampler(seed=seed)


def new_study(sampler: BaseSampler, mode: Mode) -> Study:
    """An empty study in memory."""
    import optuna

    return optuna.create_study(
        sampler=sampler, direction="maximize" if mode == "max" else "minimize"
    )


def space_of(branch: Branch) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each parameter of the branch."""
    return {name: distribution(parameter) for name, parameter in branch.parameters.items()}


def decoded(branch: Branch, drawn: Mapping[str, Any]) -> Params:
    """The params of a trial for which Optuna drew these."""
    values = {name: decode(p, drawn[name]) for name, p in branch.parameters.items()}
    return merged(branch, values)


def finished_trials(
    branch: Branch, observations: Sequence[Observation], mode: Mode
) -> list[FrozenTrial]:
    """What was seen within the branch's ranges, as complete trials of Optuna's.

    Trials outside the ranges (a prior from before they were narrowed) and trials that say nothing
    about their params are left out.
    """
    from optuna.trial import create_trial

    inside = [one for one in observations if one.judged and holds(branch, one.params)]
    space = space_of(branch)
    return [
        create_trial(
            params={name: encode(p, one.params[name]) for name, p in branch.parameters.items()},
            distributions=space,
            value=value,
        )
        for one, value in zip(inside, told_values(inside, mode), strict=True)
    ]


def told_values(observations: Sequence[Observation], mode: Mode) -> list[float]:
    """The value to tell Optuna for each judged observation; always finite.

    A pruned trial is told with its own value, like a complete one; the GP would ignore Optuna's own
    PRUNED. A failed trial is told as a little worse than the worst of them. Optuna's own FAIL would
    be ignored by TPE and GP, which would then ask for the same bad place again; a huge penalty
    would flatten all other differences in the GP's standardized values.

    The limit of it: tpe and gp are told everything anew, but CMA-ES each generation once, by what
    was seen until then. A later trial that is worse than all before it may be told below what
    failed earlier.
    """
    sign = 1.0 if mode == "max" else -1.0
    scores = [bounded(one.score(mode)) for one in observations if one.succeeded]
    best, worst = (max(scores), min(scores)) if scores else (0.0, 0.0)
    failed = worst - _PENALTY * ((best - worst) or 1.0)
    return [sign * (bounded(one.score(mode)) if one.succeeded else failed) for one in observations]


def bounded(value: float) -> float:
    """``value``, no larger in magnitude than what can be subtracted and squared."""
    return math.copysign(min(abs(value), _LARGEST), value)


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log lines and its experimental and independent-sampling warnings."""
    from optuna import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def numeric_only(trial: FrozenTrial) -> FrozenTrial:
    """A copy of a complete trial without its choices, which CMA-ES does not model."""
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import create_trial

    space: dict[str, Any] = {
        name: one
        for name, one in trial.distributions.items()
        if not isinstance(one, CategoricalDistribution) and not one.single()
    }
    params = {name: trial.params[name] for name in space}
    return create_trial(params=params, distributions=space, value=trial.value)
