"""A parameter that does not matter, and two that trade off; on searches where it is not so."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from searched import a_picture, a_spec_of, a_stage_of, trials_of

from hpsearch.analysis.diagnosis.of_search.parameters import no_effect, trade_off
from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.spec.reason import Reason
from hpsearch.spec.space import Params

SPACE = {
    "learning_rate": {"log_uniform": [1e-5, 1.0]},
    "dropout": {"uniform": [0.0, 0.9]},
    "batch_size": {"log_int": [16, 1024], "base": 2},
    "activation": {"choice": ["relu", "tanh", "elu"]},
}
SPEC = a_spec_of(SPACE)


def searched(
    value: Callable[[Params, random.Random], float], count: int = 200, seed: int = 0, **more: Any
) -> Picture:
    draw = random.Random(seed)
    params = [
        {
            "learning_rate": 10 ** draw.uniform(-5, 0),
            "dropout": draw.uniform(0.0, 0.9),
            "batch_size": 2 ** draw.randint(4, 10),
            "activation": draw.choice(["relu", "tanh", "elu"]),
        }
        for _ in range(count)
    ]
    return a_picture(SPEC, trials_of(params, [value(one, draw) for one in params]), **more)


def rate(params: Params) -> float:
    return -((math.log10(params["learning_rate"]) + 2) ** 2)


def told(picture: Picture) -> list[str]:
    return [name for found in no_effect(picture) for name in found.evidence["parameters"]]


def test_what_the_best_lie_all_over_does_not_matter() -> None:
    (found,) = no_effect(searched(lambda one, draw: rate(one) + draw.gauss(0, 0.1), seed=1))
    assert found.kind == "no_effect"
    assert found.evidence["parameters"] == ["dropout", "batch_size", "activation"]
    assert "no sign that dropout, batch_size, activation matter" in found.message
    assert "fix them under train:" in found.message
    assert min(found.evidence["p"]) > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_what_decides_or_helps_is_not_among_them(seed: int) -> None:
    def value(one: Params, draw: random.Random) -> float:
        liked = 2.0 * (one["activation"] == "elu")
        return rate(one) - 8 * one["dropout"] + liked + draw.gauss(0, 0.3)

    assert {*told(searched(value, seed=seed))} <= {"batch_size"}


@pytest.mark.parametrize("seed", range(5))
def test_a_best_value_in_the_middle_matters_too(seed: int) -> None:
    middle = searched(lambda one, draw: -abs(one["dropout"] - 0.45) + draw.gauss(0, 0.1), seed=seed)
    assert "dropout" not in told(middle)


def test_of_few_trials_nothing_is_said() -> None:
    assert told(searched(lambda one, draw: rate(one), count=100, seed=1)) != []
    assert told(searched(lambda one, draw: rate(one), count=99, seed=1)) == []


def test_what_the_search_narrowed_is_not_said_to_be_no_matter() -> None:
    def value(one: Params, draw: random.Random) -> float:
        return rate(one) + draw.gauss(0, 0.1)

    reason = Reason(
        branch="all",
        parameter="dropout",
        action="narrowed",
        old=None,
        new=None,
        text="",
        evidence={},
    )
    stages = [replace(a_stage_of(SPEC), reasons=(reason,))]
    assert "dropout" in told(searched(value, seed=1))
    assert "dropout" not in told(searched(value, seed=1, stages=stages))


# Trade-offs


def ridge(one: Params, draw: random.Random) -> float:
    """The best rate is proportional to the batch size."""
    best = math.log10(one["batch_size"]) - 4.5
    return -abs(math.log10(one["learning_rate"]) - best) + draw.gauss(0, 0.1)


def test_a_rate_that_is_best_in_proportion_to_the_batch_size_trades_off() -> None:
    (found,) = trade_off(searched(ridge))
    assert found.kind == "trade_off"
    assert found.evidence["parameters"] == ["learning_rate", "batch_size"]
    assert found.evidence["among_best"] > 0.6 > abs(found.evidence["among_all"])
    assert "train: {lr_scaling: linear}" in found.message


def test_other_trade_offs_are_told_without_that_advice() -> None:
    def value(one: Params, draw: random.Random) -> float:
        return -abs(math.log10(one["learning_rate"]) + 4 * one["dropout"] + 1)

    (found,) = trade_off(searched(value))
    assert found.evidence["parameters"] == ["learning_rate", "dropout"]
    assert "the smaller dropout" in found.message
    assert "lr_scaling" not in found.message


@pytest.mark.parametrize("seed", range(10))
def test_parameters_that_each_have_a_best_value_do_not(seed: int) -> None:
    def value(one: Params, draw: random.Random) -> float:
        return rate(one) - 4 * one["dropout"] - abs(math.log2(one["batch_size"]) - 6)

    assert list(trade_off(searched(value, seed=seed))) == []
    assert list(trade_off(searched(lambda one, draw: draw.random(), seed=seed))) == []


def test_what_goes_together_in_all_trials_is_the_samplers_doing() -> None:
    picture = searched(lambda one, draw: draw.random())
    together = [
        trial.changed({"params": {**trial.params, "dropout": trial.params["learning_rate"] ** 0.1}})
        for trial in picture.trials
    ]
    assert list(trade_off(a_picture(SPEC, together))) == []


def test_few_trials_show_no_trade_off() -> None:
    assert list(trade_off(searched(ridge, count=39))) == []


def test_a_weak_trade_off_of_many_trials_is_not_told() -> None:
    """One that is sure, but could not be seen in a plot."""
    loose = searched(lambda one, draw: ridge(one, draw) + draw.gauss(0, 2.5), count=3000)
    assert list(trade_off(loose)) == []


def test_chance_finds_none_among_the_best_few() -> None:
    for seed in range(30):
        assert list(trade_off(searched(lambda one, draw: draw.random(), count=40, seed=seed))) == []
