"""The whole way from coarse to fine on functions with a known optimum, over many seeds.

No training: a function of the params stands for a trial. Every search has a budget of 200 trials,
those of its expand stages included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from hpsearch.sampling.border import extend, merge
from hpsearch.sampling.encoding import from_unit
from hpsearch.sampling.keyed import keyed_generator
from hpsearch.sampling.observations import Observation, ranked
from hpsearch.sampling.refiner import refine
from hpsearch.spec.space import Branch, Range
from workers.config import DOMAINS

BUDGET, COARSE, EXPAND = 200, 60, 30
SEEDS = range(100)
FULL = {
    "learning_rate": Range(kind="log_uniform", low=1e-5, high=10.0),
    "weight_decay": Range(kind="log_uniform", low=1e-6, high=1.0),
    "momentum": Range(kind="uniform", low=0.5, high=0.99),
    "dropout": Range(kind="uniform", low=0.0, high=0.8),
}
OPTIMUM = {"learning_rate": 0.1, "weight_decay": 1e-3, "momentum": 0.9, "dropout": 0.2}
# Accuracy lost at a distance of 1 on each parameter's scale (a decade on a log scale), squared.
CURVATURE = {"learning_rate": 0.04, "weight_decay": 0.01, "momentum": 0.5, "dropout": 0.15}
LOW = Range(kind="log_uniform", low=1e-6, high=1e-3)  # ends two decades below the optimum


def space(count, **changes):
    """The first ``count`` parameters of FULL, with changes."""
    names = list(FULL)[:count]
    return Branch(key="all", parameters={name: FULL[name] for name in names} | changes)


def bowl(branch, params, optimum=OPTIMUM):
    """An accuracy: 0.95 at the optimum, less by the square of the distance from it."""
    return 0.95 - sum(
        CURVATURE[name] * (parameter.scale(params[name]) - parameter.scale(optimum[name])) ** 2
        for name, parameter in branch.parameters.items()
    )


def draw(branch, count, *key):
    """Random trials: what the random sampler draws, without the cost of an Optuna study."""
    generator = keyed_generator(branch.key, *key)
    return [
        {**branch.fixed}
        | {
            name: from_unit(parameter, generator.random())
            for name, parameter in branch.parameters.items()
        }
        for _ in range(count)
    ]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All trials, and the ranges of the branches after each step."""

    trials: list[Observation]
    ranges: list[tuple[Branch, ...]]
    expanded: int

    @property
    def best(self):
        return ranked(self.trials, "max")[0]

    def final(self, key="all"):
        return next((one for one in self.ranges[-1] if one.key == key), None)


@dataclass
class Loop:
    """What the coordinator does between stages, in short."""

    objective: object
    seed: int
    noise: float = 0.0
    stages: int = 0

    def __post_init__(self):
        self.trials = []
        self.generator = np.random.default_rng([self.seed, 77])

    def run(self, branches, expands=2):
        explored = tuple(
            one.model_copy(update={"trials": COARSE // len(branches)}) for one in branches
        )
        self.carry_out(explored)
        expanded = 0
        while expanded < expands:
            extension = extend(explored, self.trials, trials=EXPAND, **self.call)
            if extension is None:
                break
            self.carry_out(extension.branches)
            explored, expanded = merge(explored, extension.branches), expanded + 1
        ranges, left = [explored], BUDGET - len(self.trials)
        for total in (left // 2, left - left // 2, 0):
            explored = refine(explored, self.trials, total_trials=total, **self.call).branches
            ranges.append(explored)
            self.carry_out(explored)
        assert len(self.trials) <= BUDGET
        return Outcome(trials=self.trials, ranges=ranges, expanded=expanded)

    @property
    def call(self):
        return {"mode": "max", "seed": self.seed, "limits": DOMAINS}

    def carry_out(self, branches):
        self.stages += 1
        for branch in branches:
            for params in draw(branch, branch.trials, self.seed, self.stages):
                self.trials.append(self.observe(branch, params))

    def observe(self, branch, params):
        value = self.objective(branch, params)
        return Observation(
            branch=branch.key,
            params=params,
            value=None if value is None else value + self.noise * self.generator.normal(),
            state="failed" if value is None else "complete",
            failure_kind="diverged" if value is None else None,
            number=len(self.trials),
        )


def within_factor_2(params):
    return abs(math.log(params["learning_rate"] / OPTIMUM["learning_rate"])) <= math.log(2)


def holds(branch, optimum=OPTIMUM):
    return all(p.low <= optimum[name] <= p.high for name, p in branch.parameters.items())


def median_decades(branches):
    """The median width of the learning rate's range."""
    ranges = [branch.parameters["learning_rate"] for branch in branches]
    return np.median([np.log10(one.high / one.low) for one in ranges])


def rate(flags):
    flags = list(flags)
    return sum(flags) / len(flags)


@pytest.mark.parametrize("count", [2, 4])
def test_an_optimum_two_decades_outside_is_found_where_random_search_never_finds_it(count):
    branch = space(count, learning_rate=LOW)
    found = [within_factor_2(Loop(bowl, seed).run([branch]).best.params) for seed in SEEDS]
    assert rate(found) >= 0.9
    plain = (draw(branch, BUDGET, seed) for seed in SEEDS)
    assert not any(within_factor_2(params) for trials in plain for params in trials)


@pytest.mark.parametrize(("count", "noise"), [(3, 0.0), (4, 0.01)])
def test_an_optimum_inside_stays_in_the_final_ranges_noise_or_not(count, noise):
    outcomes = [Loop(bowl, seed, noise).run([space(count)]) for seed in SEEDS]
    assert rate(holds(one.final()) for one in outcomes) >= 0.95
    widths = [
        np.log10(p.high / p.low) for p in (o.final().parameters["learning_rate"] for o in outcomes)
    ]
    assert np.median(widths) <= 2.0  # of six decades: it does close in


def test_each_optimizers_range_closes_in_on_its_own_optimum():
    optima = {"sgd": {**OPTIMUM, "learning_rate": 0.1}, "adam": {**OPTIMUM, "learning_rate": 1e-3}}
    branches = [
        space(2).model_copy(update={"key": f"optimizer={name}", "fixed": {"optimizer": name}})
        for name in optima
    ]

    def objective(branch, params):
        return bowl(branch, params, optima[params["optimizer"]])

    outcomes = [Loop(objective, seed, 0.005).run(branches) for seed in SEEDS]
    for name, optimum in optima.items():
        finals = [one.final(f"optimizer={name}") for one in outcomes]
        assert rate(final is not None and holds(final, optimum) for final in finals) >= 0.95
        assert median_decades(final for final in finals if final) <= 2.0


@pytest.mark.parametrize("rate_range", [FULL["learning_rate"], LOW])
def test_an_unstable_upper_edge_is_never_crossed_by_a_refined_range(rate_range):
    edge = 0.15

    def objective(branch, params):
        return None if params["learning_rate"] > edge else bowl(branch, params)

    branch = space(2, learning_rate=rate_range)
    for seed in SEEDS:
        outcome = Loop(objective, seed, 0.005).run([branch])
        for refined in outcome.ranges[1:]:
            assert refined[0].parameters["learning_rate"].high <= edge
        fine = outcome.trials[COARSE + EXPAND * outcome.expanded :]
        assert not any(trial.diverged for trial in fine)


def test_a_plateau_at_chance_level_does_not_hide_where_it_rises():
    """Far from the optimum an accuracy is chance, as in training, and says nothing."""

    def objective(branch, params):
        depth = (0.95 - bowl(branch, params)) / 0.04
        return 0.1 + 0.85 * math.exp(-depth / 2)

    outcomes = [Loop(objective, seed, 0.005).run([space(3)]) for seed in SEEDS]
    assert rate(holds(one.final()) for one in outcomes) >= 0.95
