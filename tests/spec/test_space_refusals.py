"""Every way to get the space wrong: its names, its ranges and choices, its conditions."""

from __future__ import annotations

from typing import Any

import pytest
from refused_specs import assert_told, problems_of

# changes, key path, part of the rule
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    # parameters
    "space empty": ({"space": {}}, "space", "must have at least one parameter"),
    "no mapping": ({"space.learning_rate": 0.1}, "space.learning_rate", "must be a mapping with"),
    "null": ({"space.learning_rate": None}, "space.learning_rate", "must be a mapping with"),
    "no kind": ({"space.learning_rate": {}}, "space.learning_rate", "must have exactly one of"),
    "two kinds": (
        {"space.learning_rate": {"uniform": [1, 2], "log_uniform": [1, 2]}},
        "space.learning_rate",
        "must have exactly one of",
    ),
    "upside down": (
        {"space.learning_rate": {"log_uniform": [1, 1e-4]}},
        "space.learning_rate.log_uniform",
        "low < high",
    ),
    "empty range": (
        {"space.learning_rate": {"uniform": [1, 1]}},
        "space.learning_rate.uniform",
        "low < high",
    ),
    "zero on a log scale": (
        {"space.weight_decay": {"log_uniform": [0, 1]}},
        "space.weight_decay.log_uniform",
        "must be above 0, on a log scale",
    ),
    "one end": (
        {"space.learning_rate": {"uniform": [1]}},
        "space.learning_rate.uniform",
        "must be [low, high]",
    ),
    "nan end": (
        {"space.learning_rate": {"uniform": [float("nan"), 1]}},
        "space.learning_rate.uniform[0]",
        "must be finite",
    ),
    "end no number": (
        {"space.learning_rate": {"uniform": [0.1, "one"]}},
        "space.learning_rate.uniform[1]",
        "must be a number",
    ),
    "end off the domain": (
        {"space.dropout": {"uniform": [0, 1]}},
        "space.dropout.uniform[1]",
        "must be a number in [0, 1)",
    ),
    "range of names": (
        {"space.activation": {"int": [1, 2]}},
        "space.activation.int",
        "is no way to vary one of relu",
    ),
    "real range of integers": (
        {"space.batch_size": {"uniform": [16, 64]}},
        "space.batch_size.uniform",
        "is no way to vary an integer",
    ),
    "ends not whole": (
        {"space.dropout": {"int": [0, 0.5]}},
        "space.dropout.int",
        "must have whole numbers for ends",
    ),
    "no powers": (
        {"space.batch_size": {"log_int": [16, 100], "base": 2}},
        "space.batch_size.log_int",
        "must have powers of base 2",
    ),
    "base of one": (
        {"space.batch_size": {"log_int": [16, 64], "base": 1}},
        "space.batch_size.base",
        "must be an integer >= 2",
    ),
    "base elsewhere": (
        {"space.batch_size": {"int": [16, 64], "base": 2}},
        "space.batch_size.base",
        "is for log_int alone, not int",
    ),
    "choice empty": (
        {"space.batch_size": {"choice": []}},
        "space.batch_size.choice",
        "must be a list of at least one value",
    ),
    "choice twice": (
        {"space.batch_size": {"choice": [32, 64, 32.0]}},
        "space.batch_size.choice[2]",
        "is among the choices already",
    ),
    "choice off the domain": (
        {"space.hidden_units": {"choice": [[50], [50, -1]]}},
        "space.hidden_units.choice[1]",
        "must be an integer in [1, 1e+06], or a list of them",
    ),
    # names of parameters
    "reserved": (
        {"space.value": {"uniform": [0, 1]}},
        "space.value",
        "is the name of a column of the results, which no parameter may have; rename the parameter",
    ),
    "epochs reserved": ({"space.epochs": {"int": [1, 5]}}, "space.epochs", "name of a column"),
    "no identifier": ({"space.a b": {"int": [1, 5]}}, "space.a b", "must be a name of letters"),
    "fixed and searched": (
        {"train.learning_rate": 0.1},
        "space.learning_rate",
        "is fixed under train as well",
    ),
    # conditions
    "when no mapping": (
        {"space.momentum.when": ["adam"]},
        "space.momentum.when",
        "must be a mapping",
    ),
    "when without a value": (
        {"space.momentum.when": {"optimizer": []}},
        "space.momentum.when.optimizer",
        "must name at least one value",
    ),
    "when on a range": (
        {"space.momentum.when": {"learning_rate": 1}},
        "space.momentum.when.learning_rate",
        "is a range; a condition needs a choice",
    ),
    "when on what is fixed": (
        {"train.activation": "relu", "space.momentum.when": {"activation": "relu"}},
        "space.momentum.when.activation",
        "is fixed under train",
    ),
    "circle": (
        {
            "space.activation": {"choice": ["relu"], "when": {"lr_schedule": "step"}},
            "space.lr_schedule": {"choice": ["step"], "when": {"activation": "relu"}},
        },
        "space.activation.when",
        "goes in a circle: activation needs lr_schedule needs activation",
    ),
    "condition on itself": (
        {"space.activation": {"choice": ["relu"], "when": {"activation": "relu"}}},
        "space.activation.when",
        "goes in a circle: activation needs activation",
    ),
    "never active": (
        {
            "space.lr_schedule": {"choice": ["step"], "when": {"optimizer": "sgd"}},
            "space.lr_step_size": {
                "int": [1, 5],
                "when": {"lr_schedule": "step", "optimizer": "adam"},
            },
        },
        "space.lr_step_size.when",
        "can never hold",
    ),
    "endless branches": (
        {
            "space.batch_size": {"choice": list(range(1, 1001))},
            "space.momentum.when": {"batch_size": 1},
        },
        "space",
        "must part into at most 1000 branches",
    ),
}


@pytest.mark.parametrize(("changes", "key", "rule"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_told_with_its_key_path_and_rule(
    changes: dict[str, Any], key: str, rule: str
) -> None:
    assert_told(changes, key, rule)


def test_every_circle_of_conditions_is_told() -> None:
    circles = {
        "space.activation": {"choice": ["relu"], "when": {"lr_schedule": "step"}},
        "space.lr_schedule": {"choice": ["step"], "when": {"activation": "relu"}},
        "space.precision": {"choice": ["float32"], "when": {"precision": "float32"}},
    }
    problems = problems_of(circles)
    assert [problem.key for problem in problems] == [
        "space.activation.when",
        "space.precision.when",
    ]
