"""Importance beside what chance gives: noise is within it, what decides is beyond it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from searched import a_searched, a_spec_of, a_stage_of, trials_of

from hpsearch.analysis.importance import WITHIN, Importance, importance_frame, importances
from hpsearch.spec.space import Params

RATE = {"log_uniform": [1e-6, 10.0]}
NOISE = {"uniform": [0.0, 0.6]}
SEEDS = 40


def found_in(
    space: dict[str, Any],
    draw: Callable[[random.Random], tuple[Params, float]],
    count: int,
    seed: int,
) -> dict[str, Importance]:
    """Of ``count`` trials, each with its params and its value as drawn."""
    spec, source = a_spec_of(space), random.Random(seed)
    drawn = [draw(source) for _ in range(count)]
    trials = trials_of([params for params, _ in drawn], [value for _, value in drawn])
    found = importances(a_searched(spec), [a_stage_of(spec)], trials)
    return {one.parameter: one for one in found}


def rate_and_noise(source: random.Random) -> tuple[Params, float]:
    params: Params = {
        "learning_rate": 10 ** source.uniform(-6, 1),
        "dropout": source.uniform(0.0, 0.6),
        "activation": source.choice(["relu", "tanh", "gelu"]),
    }
    return params, -abs(math.log10(params["learning_rate"]) + 2) + source.gauss(0, 1)


@pytest.mark.parametrize("count", [70, 500])
def test_noise_is_within_chance_and_what_decides_is_beyond(count: int) -> None:
    space = {
        "learning_rate": RATE,
        "dropout": NOISE,
        "activation": {"choice": ["relu", "tanh", "gelu"]},
    }
    found = [found_in(space, rate_and_noise, count, seed) for seed in range(SEEDS)]
    beyond = {name: sum(bool(one[name].beyond_chance) for one in found) for name in space}
    assert beyond["learning_rate"] == SEEDS
    assert beyond["dropout"] <= SEEDS / 10
    assert beyond["activation"] <= SEEDS / 10
    assert {next(iter(one)) for one in found} == {"learning_rate"}


def test_where_nothing_matters_the_shares_add_up_to_one_and_none_is_told_as_beyond() -> None:
    def draw(source: random.Random) -> tuple[Params, float]:
        return {name: source.uniform(0.0, 0.6) for name in ("dropout", "momentum")}, source.random()

    space = {"dropout": NOISE, "momentum": NOISE}
    found = [one for seed in range(20) for one in found_in(space, draw, 70, seed).values()]
    assert sum(one.share or 0.0 for one in found) == pytest.approx(20)
    within = [one for one in found if not one.beyond_chance]
    assert len(within) >= 36
    assert {one.note for one in within} == {WITHIN}


@pytest.mark.parametrize("decides", [True, False])
def test_that_a_parameter_is_alone_does_not_make_it_matter(decides: bool) -> None:
    def draw(source: random.Random) -> tuple[Params, float]:
        rate = 10 ** source.uniform(-6, 1)
        return {"learning_rate": rate}, -abs(math.log10(rate)) if decides else source.random()

    (found,) = found_in({"learning_rate": RATE}, draw, 60, seed=0).values()
    assert found.share == pytest.approx(1.0)
    assert found.beyond_chance is decides


def test_a_condition_that_decides_does_not_make_what_hangs_on_it_matter() -> None:
    """All of the best have a momentum; which one, is noise."""

    def draw(source: random.Random) -> tuple[Params, float]:
        optimizer = source.choice(["sgd", "momentum"])
        momentum = {"momentum": source.uniform(0.5, 0.99)} if optimizer == "momentum" else {}
        return {"optimizer": optimizer, **momentum}, bool(momentum) + source.random()

    space = {
        "optimizer": {"choice": ["sgd", "momentum"]},
        "momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": ["momentum"]}},
    }
    found = [found_in(space, draw, 120, seed) for seed in range(SEEDS)]
    assert all(one["optimizer"].beyond_chance for one in found)
    assert sum(bool(one["momentum"].beyond_chance) for one in found) <= SEEDS / 10


def test_what_is_within_chance_stands_after_what_is_beyond_whatever_its_share() -> None:
    """A range has more ways to differ by chance than a choice of two: its noise may be more."""

    def draw(source: random.Random) -> tuple[Params, float]:
        choice = source.choice(["sgd", "momentum"])
        params: Params = {"dropout": source.uniform(0.0, 0.6), "optimizer": choice}
        return params, 0.8 * (choice == "sgd") + source.gauss(0, 1)

    space = {"dropout": NOISE, "optimizer": {"choice": ["sgd", "momentum"]}}
    told = [list(found_in(space, draw, 70, seed).values()) for seed in range(SEEDS)]
    parted = [(a, b) for a, b in told if a.beyond_chance and not b.beyond_chance]
    assert any((a.share or 0.0) < (b.share or 0.0) for a, b in parted)
    assert all(a.beyond_chance or not b.beyond_chance for a, b in told)


def test_the_frame_is_the_same_each_time_and_whatever_else_is_searched() -> None:
    spec, source = a_spec_of({"learning_rate": RATE, "dropout": NOISE}), random.Random(0)
    params = [
        {"learning_rate": 10 ** source.uniform(-6, 1), "dropout": source.uniform(0, 0.6)}
        for _ in range(70)
    ]
    trials = trials_of(params, [source.random() for _ in params])
    first, second = (importance_frame(a_searched(spec), [a_stage_of(spec)], trials) for _ in "ab")
    pd.testing.assert_frame_equal(first, second)
    alone = a_spec_of({"dropout": NOISE})
    few = trials_of([{"dropout": one["dropout"]} for one in params], [t.value for t in trials])
    (one,) = importances(a_searched(alone), [a_stage_of(alone)], few)
    row = first[first["parameter"] == "dropout"].iloc[0]
    assert one.chance == pytest.approx(row["chance"] / row["importance"])
