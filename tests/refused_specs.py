"""A legal spec to get wrong in tests of refusals, and what is then told of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from hpsearch.spec import Problem, SpecError, load

BASE: dict[str, Any] = {
    "name": "try",
    "data": {"source": "digits"},
    "train": {"epochs": 4},
    "space": {
        "learning_rate": {"log_uniform": [1e-4, 1]},
        "optimizer": {"choice": ["sgd", "momentum", "adam"]},
        "momentum": {"uniform": [0.8, 0.99], "when": {"optimizer": "momentum"}},
    },
    "stages": [
        {"name": "coarse", "trials": 20},
        {"name": "fine", "trials": 10, "epochs": 8},
        {"name": "confirm", "top": 3},
    ],
}
AUTO = {"stages": "auto", "budget": {"epochs": 1000}}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """BASE with whole sections replaced (``data``) or single keys set (``data.path``)."""
    tree = copy.deepcopy(BASE)
    for path, value in changes.items():
        node: Any = tree
        *keys, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        for key in keys:
            node = node[key]
        node[last] = value
    return tree


def refused(read: Callable[..., object], *given: Any) -> tuple[Problem, ...]:
    """What is told by ``read(*given)``, which must refuse it: a line a problem."""
    with pytest.raises(SpecError) as caught:
        read(*given)
    assert all("\n" not in str(problem) for problem in caught.value.problems)
    return caught.value.problems


def assert_told(changes: dict[str, Any], key: str, rule: str) -> None:
    """There is one problem, at that key and by that rule."""
    problems = problems_of(changes)
    assert [problem.key for problem in problems] == [key]
    assert rule in problems[0].rule


def problems_of(changes: dict[str, Any], overrides: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    return refused(load, changed(changes), overrides)
