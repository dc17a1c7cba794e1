"""One parameter with several ranges, each under its own condition."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.coordinator.planning import sample_first
from hpsearch.spec import load
from hpsearch.spec.problem import SpecError
from hpsearch.spec.search import Search
from hpsearch.spec.space import Cases, Range

SGD, ADAM = {"optimizer": ["sgd", "momentum"]}, {"optimizer": ["adam"]}


def _spec(rates: Any, **parameters: Any) -> dict[str, Any]:
    return {
        "name": "cases",
        "data": {"source": "digits"},
        "space": {
            "optimizer": {"choice": ["sgd", "momentum", "adam", "rmsprop"]},
            "learning_rate": rates,
            **parameters,
        },
        "stages": [{"name": "coarse", "trials": 40, "epochs": 1}],
    }


RATES = [
    {"log_uniform": [1e-2, 1.0], "when": SGD},
    {"log_uniform": [1e-5, 1e-3], "when": ADAM},
]


def _refusal(rates: Any, **parameters: Any) -> str:
    with pytest.raises(SpecError) as caught:
        load(_spec(rates, **parameters))
    return str(caught.value)


def test_every_branch_has_the_range_whose_condition_holds() -> None:
    search = load(_spec(RATES))
    assert isinstance(search.space.parameters["learning_rate"], Cases)
    ranges = {b.key: b.parameters.get("learning_rate") for b in search.space.branches()}
    assert isinstance(ranges["optimizer=sgd"], Range)
    assert (ranges["optimizer=sgd"].low, ranges["optimizer=momentum"].high) == (1e-2, 1.0)
    assert ranges["optimizer=adam"].high == 1e-3
    assert ranges["optimizer=rmsprop"] is None


def test_trials_are_drawn_from_the_range_of_their_branch() -> None:
    for params in sample_first(load(_spec(RATES)), 40):
        rate = params.get("learning_rate")
        if params["optimizer"] == "rmsprop":
            assert rate is None
        else:
            low, high = (1e-5, 1e-3) if params["optimizer"] == "adam" else (1e-2, 1.0)
            assert low <= rate <= high


def test_a_search_with_cases_survives_the_database() -> None:
    search = load(_spec(RATES))
    assert Search.from_json(search.to_json()) == search


def test_every_case_needs_a_condition() -> None:
    assert "learning_rate[1]: is one of several definitions and needs a when" in _refusal(
        [RATES[0], {"log_uniform": [1e-5, 1e-3]}]
    )


def test_two_cases_may_not_hold_at_once() -> None:
    both = [RATES[0], {"log_uniform": [1e-5, 1e-3], "when": {"optimizer": ["adam", "sgd"]}}]
    assert "learning_rate: has two definitions whose conditions can hold at once" in _refusal(both)


def test_a_list_of_one_is_refused() -> None:
    assert "must be a mapping, or a list of at least two, each with a when" in _refusal(RATES[:1])


def test_what_is_wrong_with_a_case_is_told_at_its_place() -> None:
    wrong = [RATES[0], {"log_uniform": [1e-3, -1.0], "when": {"optimiser": ["adam"]}}]
    text = _refusal(wrong)
    assert "space.learning_rate[1].log_uniform" in text
    text = _refusal([RATES[0], {"log_uniform": [1e-5, 1e-3], "when": {"optimiser": ["adam"]}}])
    assert "space.learning_rate[1].when.optimiser" in text


def test_a_choice_that_parts_branches_may_not_have_cases() -> None:
    normalization = [
        {"choice": ["none", "batch"], "when": SGD},
        {"choice": ["none", "layer"], "when": ADAM},
    ]
    momentum = {"uniform": [0.1, 0.2], "when": {"normalization": ["batch"]}}
    text = _refusal(RATES, normalization=normalization, norm_momentum=momentum)
    assert "norm_momentum.when.normalization: has several definitions; a condition needs" in text
