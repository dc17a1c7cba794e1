"""PED-ANOVA of counts: Optuna's numbers, and shuffles that are draws from all trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from hpsearch.analysis.ped_anova import Along, Bools, Grid
from hpsearch.sampling.encoding import distribution, encode, from_unit
from hpsearch.sampling.studies import quiet
from hpsearch.spec.space import Choice, Definition, Range, Value

DEFINITIONS: dict[str, Definition] = {
    "decades": Range(kind="log_uniform", low=1e-6, high=1.0),
    "plain": Range(kind="uniform", low=-1.0, high=3.0),
    "narrow": Range(kind="uniform", low=0.1, high=0.1000001),
    "powers": Range(kind="log_int", low=16, high=512, base=2),
    "whole": Range(kind="int", low=1, high=100),
    "few": Range(kind="int", low=1, high=3),
    "log_whole": Range(kind="log_int", low=1, high=1000),
    "choice": Choice(choices=("relu", "tanh", "gelu")),
    "switch": Choice(choices=(True, False)),
}


def of_optuna(
    definitions: Sequence[Definition | None], values: Sequence[Value], best_N: Bools
) -> float:
    """What Optuna says of trials that have the parameter under a definition each, or None."""
    study = optuna.create_study()
    for definition, value, is_best in zip(definitions, values, best_N, strict=True):
        given = {} if definition is None else {"x": (definition, value)}
        study.add_trial(
            optuna.trial.create_trial(
                params={name: encode(*each) for name, each in given.items()},
                distributions={name: distribution(each[0]) for name, each in given.items()},
                value=0.0 if is_best else 1.0,
            )
        )
    part = best_N.mean()
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=float(part))
    return evaluator.evaluate(study, params=["x"])["x"] / float(part) ** 2


def some(definition: Definition, count: int, seed: int) -> list[Value]:
    """Values that lean to the lower end, the border among them."""
    generator = np.random.default_rng(seed)
    return [from_unit(definition, place**2) for place in generator.uniform(0, 1, count)]


@pytest.fixture(autouse=True)
def _quiet() -> object:
    with quiet():
        yield


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize(("count", "num_best"), [(3, 1), (20, 2), (40, 13), (300, 30)])
def test_it_is_what_optuna_says(name: str, count: int, num_best: int) -> None:
    definition = DEFINITIONS[name]
    values = some(definition, count, seed=count)
    best_N = np.random.default_rng(1).permutation(count) < num_best
    grid = Grid(definition=definition)
    along = Along(grids=(grid,), cells_N=grid.places(values))
    found_B = along.divergences(along.counts(best_N)[None])
    expected = of_optuna([definition] * count, values, best_N)
    assert_allclose(found_B, [expected], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("having", [30, 2, 1, 0])
def test_several_definitions_and_trials_without_any_are_what_optuna_says(having: int) -> None:
    one, other = DEFINITIONS["decades"], DEFINITIONS["plain"]
    has = [*[one] * 50, *[other] * having, *[None] * 20]
    values = [*some(one, 50, 0), *some(other, having, 1), *[None] * 20]
    best_N = np.random.default_rng(2).permutation(len(has)) < 25
    best_N[50] = True
    grids = Grid(definition=one), Grid(definition=other)
    first, last = grids[0].size, grids[0].size + grids[1].size
    there = grids[0].places(values[:50]), first + grids[1].places(values[50:-20])
    along = Along(grids=grids, cells_N=np.concatenate([*there, [last] * 20]))
    found_B = along.divergences(along.counts(best_N)[None])
    assert_allclose(found_B, [of_optuna(has, values, best_N)], rtol=1e-9)


@pytest.mark.parametrize("name", ["decades", "choice"])
def test_many_sets_at_once_are_as_each_alone(name: str) -> None:
    grid = Grid(definition=DEFINITIONS[name])
    along = Along(grids=(grid,), cells_N=grid.places(some(grid.definition, 60, 0)))
    generator = np.random.default_rng(0)
    sets = [along.counts(generator.permutation(60) < size) for size in (1, 2, 3, 12, 30)]
    each = [along.divergences(one[None])[0] for one in sets]
    assert_allclose(along.divergences(np.stack(sets)), each, rtol=1e-12)


def test_one_value_alone_is_no_distance() -> None:
    point = Grid(definition=Range(kind="uniform", low=0.1, high=0.1))
    along = Along(grids=(point,), cells_N=point.places([0.1] * 9))
    assert along.divergences(along.counts(np.arange(9) < 3)[None])[0] == pytest.approx(0.0)


@settings(max_examples=30, deadline=None)
@given(
    cells=st.lists(st.integers(0, 6), min_size=2, max_size=60),
    num_best=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_shuffles_are_draws_from_all_trials_under_each_definition(
    cells: list[int], num_best: int, seed: int
) -> None:
    three, switch = (Grid(definition=DEFINITIONS[name]) for name in ("choice", "switch"))
    along = Along(grids=(three, switch), cells_N=np.array(cells) % 6)
    best_G = along.counts(np.arange(len(cells)) < num_best)
    shuffled_BG = along.shuffled(best_G, 20, np.random.default_rng(seed))
    assert (shuffled_BG >= 0).all()
    assert (shuffled_BG <= along.counts()).all()
    for part in (slice(0, 3), slice(3, 5), slice(5, 6)):
        assert (shuffled_BG[:, part].sum(axis=1) == best_G[part].sum()).all()


def test_shuffles_of_counts_are_those_of_the_values() -> None:
    """By the mean and the spread of the count in one cell, against values that are permuted."""
    three = Grid(definition=DEFINITIONS["choice"])
    cells_N, best_N = np.array([0] * 10 + [1] * 20 + [2] * 10), np.arange(40) < 8
    along, generator = Along(grids=(three,), cells_N=cells_N), np.random.default_rng(0)
    drawn = along.shuffled(along.counts(best_N), 4000, generator)[:, 0]
    permuted = [(generator.permutation(cells_N)[best_N] == 0).sum() for _ in range(4000)]
    assert_allclose(drawn.mean(), np.mean(permuted), atol=4 * math.sqrt(2 * drawn.var() / 4000))
    assert_allclose(drawn.var(), np.var(permuted), rtol=0.1)
