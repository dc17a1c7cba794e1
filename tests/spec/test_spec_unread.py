"""What no trial reads is not searched over; an objective ranks what it can compare."""

from __future__ import annotations

from typing import Any

import pytest
from refused_specs import refused

from hpsearch.spec import Problem, load
from workers.metrics import CLASS_OBJECTIVES

SHARE = {"uniform": [0.1, 0.9]}
COUNT = {"int": [2, 4]}
TABLE = {"source": "csv", "path": "t.csv", "task": "regression"}


def spec(space: dict[str, Any], **sections: Any) -> dict[str, Any]:
    stages = [{"name": "only", "trials": 100, "epochs": 1}]
    return {
        **{"name": "try", "data": {"source": "digits"}, "space": space, "stages": stages},
        **sections,
    }


def problems_of(space: dict[str, Any], **sections: Any) -> tuple[Problem, ...]:
    return refused(load, spec(space, **sections))


# train, parameter, what would read it
UNREAD: list[tuple[dict[str, Any], str, dict[str, Any], str]] = [
    (
        {"optimizer": "adam"},
        *("momentum", SHARE, "optimizer is momentum, averaged_momentum or nesterov"),
    ),
    ({"optimizer": "rmsprop"}, "momentum", SHARE, "optimizer is momentum, averaged_momentum or"),
    ({}, "rmsprop_momentum", SHARE, "optimizer is rmsprop"),
    ({}, "swats_tolerance", SHARE, "optimizer is swats"),
    ({"momentum": 0}, "dampening", SHARE, "momentum is above 0"),
    ({"optimizer": "sgd"}, "dampening", SHARE, "optimizer is momentum"),
    ({}, "lr_decay", SHARE, "lr_schedule is step, exponential, natural_exponential, inverse_time,"),
    ({"lr_schedule": "one_cycle"}, "lr_cycle_epochs", COUNT, "lr_schedule is cosine or cyclic"),
    ({"lr_schedule": "cosine"}, "lr_cycle_factor", COUNT, "lr_cycle_epochs is given"),
    (
        {"lr_schedule": "step", "lr_milestones": [3]},
        *("lr_step_size", COUNT, "lr_milestones is empty, or lr_schedule is halving or grow_batch"),
    ),
    (
        {"lr_schedule": "cosine", "lr_cycle_epochs": 5},
        *("schedule_epochs", COUNT, "is polynomial or one_cycle, or lr_cycle_epochs is not given"),
    ),
    ({"loss": "hinge"}, "label_smoothing", SHARE, "loss is cross_entropy"),
    ({"loss": "cross_entropy"}, "hinge_margin", SHARE, "loss is hinge"),
    ({}, "init_scale", SHARE, "initialization is normal, uniform or constant"),
    (
        {"warm_start": "a/1"},
        *("bias_init", SHARE, "warm_start is not given, or warm_start_layers is all_but_head"),
    ),
    ({"sampling": "shuffled"}, "hard_emphasis", SHARE, "sampling is hard"),
    ({"model": "mlp"}, "channels", COUNT, "model is cnn"),
    ({"model": "mlp"}, "kernel_size", {"choice": [3, 5]}, "model is cnn"),
    ({"model": "logistic_regression"}, "dropout", SHARE, "model is mlp or cnn"),
    ({"model": "logistic_regression"}, "activation", {"choice": ["relu"]}, "model is mlp or cnn"),
    ({"model": "logistic_regression"}, "hidden_units", COUNT, "model is mlp or cnn"),
    ({"normalization": "batch"}, "norm_groups", COUNT, "normalization is group"),
    (
        {"normalization": "group", "model": "logistic_regression"},
        *("norm_groups", COUNT, "model is mlp or cnn"),
    ),
    (
        {"model": "logistic_regression"},
        *("norm_groups", COUNT, "normalization is group and model is mlp or cnn"),
    ),
    ({"activation": "prelu"}, "negative_slope", SHARE, "activation is leaky_relu"),
    ({"hidden_units": [9, 9]}, "depth", COUNT, "hidden_units is one width"),
    (
        {},
        *("warm_start_layers", {"choice": ["all", "all_but_head"]}, "warm_start is given"),
    ),
    ({}, "min_delta", SHARE, "patience is given, or lr_schedule is plateau"),
    ({}, "decay_biases", {"choice": [True, False]}, "weight_decay is above 0, or l1 is above 0"),
    ({}, "reference_batch_size", COUNT, "lr_scaling is linear or sqrt"),
    ({"optimizer": "gradient_descent"}, "batch_size", COUNT, "optimizer is not gradient_descent"),
]


@pytest.mark.parametrize(
    ("train", "name", "definition", "where"), UNREAD, ids=[f"{u[1]} {u[0]}" for u in UNREAD]
)
def test_a_parameter_that_no_trial_reads_is_refused_with_what_would_read_it(
    train: dict[str, Any], name: str, definition: dict[str, Any], where: str
) -> None:
    (problem,) = problems_of({name: definition}, train=train)
    assert problem.key == f"space.{name}"
    assert where in problem.rule
    assert problem.rule.startswith("is read only where ")
    assert problem.rule.endswith(
        ", as in no trial of this space; add such a value, or take the parameter away"
    )


def test_the_same_field_may_be_fixed() -> None:
    assert load(spec({"learning_rate": SHARE}, train={"momentum": 0.5, "optimizer": "adam"}))


OPTIMIZERS = {"choice": ["adam", "nesterov", "rmsprop"]}
READ: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "by a default": ({}, {"momentum": SHARE}),
    "by what is fixed": ({"optimizer": "rmsprop"}, {"centered": {"choice": [True, False]}}),
    "by one of the choices": ({}, {"optimizer": OPTIMIZERS, "momentum": SHARE}),
    "under a condition": (
        {},
        {"optimizer": OPTIMIZERS, "momentum": {**SHARE, "when": {"optimizer": "nesterov"}}},
    ),
    "by the default where the choice is inactive": (
        {},
        {
            "activation": {"choice": ["relu", "tanh"]},
            "optimizer": {"choice": ["adam"], "when": {"activation": "tanh"}},
            "momentum": SHARE,
        },
    ),
    "by a range that gives it": ({}, {"patience": COUNT, "min_delta": SHARE}),
    "by the upper end of a range": (
        {},
        {"l1": {"uniform": [0, 0.1]}, "decay_biases": {"choice": [True, False]}},
    ),
    "by one of several definitions": (
        {},
        {
            "optimizer": OPTIMIZERS,
            "weight_decay": [
                {"choice": [0], "when": {"optimizer": "adam"}},
                {"uniform": [0.1, 0.2], "when": {"optimizer": "nesterov"}},
            ],
            "decay_biases": {"choice": [True, False]},
        },
    ),
    "by a loss that only the data tell": ({}, {"label_smoothing": SHARE, "hinge_margin": SHARE}),
    "by no loss as one of the choices": (
        {},
        {"loss": {"choice": [None, "hinge"]}, "label_smoothing": SHARE},
    ),
}


@pytest.mark.parametrize(("train", "space"), READ.values(), ids=READ.keys())
def test_a_parameter_that_some_trials_read_is_taken(
    train: dict[str, Any], space: dict[str, Any]
) -> None:
    assert list(load(spec(space, train=train)).space.parameters) == list(space)


def test_a_condition_may_leave_a_parameter_no_trial_that_reads_it() -> None:
    momentum = {**SHARE, "when": {"optimizer": ["adam", "rmsprop"]}}
    (problem,) = problems_of({"optimizer": OPTIMIZERS, "momentum": momentum})
    assert problem.key == "space.momentum"


def test_two_conditions_that_hold_apart_but_never_together_are_both_told() -> None:
    space = {
        "optimizer": OPTIMIZERS,
        "activation": {"choice": ["relu", "leaky_relu"], "when": {"optimizer": "adam"}},
        "model": {"choice": ["mlp", "logistic_regression"]},
        "negative_slope": {**SHARE, "when": {"activation": "leaky_relu", "model": "mlp"}},
    }
    assert load(spec(space))
    space["negative_slope"]["when"]["model"] = "logistic_regression"
    (problem,) = problems_of(space)
    assert "only where model is mlp or cnn, as" in problem.rule
    space["negative_slope"]["when"] = {"optimizer": ["adam", "rmsprop"]}
    space["activation"]["when"] = {"model": "logistic_regression"}
    problems = {p.key: p.rule for p in problems_of(space)}
    assert "model is mlp or cnn" in problems["space.activation"]
    assert "where activation is leaky_relu and model is mlp" in problems["space.negative_slope"]


def test_all_parameters_that_no_trial_reads_are_told_at_once() -> None:
    space = {"rho": SHARE, "learning_rate": SHARE, "lr_power": SHARE}
    assert [problem.key for problem in problems_of(space)] == ["space.rho", "space.lr_power"]


# Objectives

SEARCHED: dict[str, dict[str, Any]] = {
    "loss": {"choice": [None, "hinge"]},
    "hinge_margin": SHARE,
    "huber_delta": SHARE,
    "label_smoothing": SHARE,
    "mixup": SHARE,
    "class_weights": {"choice": ["none", "balanced"]},
    "dropout": SHARE,
}


@pytest.mark.parametrize("name", SEARCHED)
@pytest.mark.parametrize("metric", CLASS_OBJECTIVES)
def test_a_loss_ranks_no_trials_that_differ_in_what_it_measures(metric: str, name: str) -> None:
    space, objective = {name: SEARCHED[name]}, {"metric": metric}
    changed = {
        "val_loss": name in ("loss", "hinge_margin", "huber_delta"),
        "train_loss": name != "dropout",
    }
    if not changed.get(metric):
        assert load(spec(space, objective=objective)).objective.metric == metric
        return
    (problem,) = problems_of(space, objective=objective)
    assert (problem.key, problem.value) == ("objective.metric", repr(metric))
    assert problem.rule.startswith(f"cannot compare trials that differ in {name}, which change")
    assert load(spec({"learning_rate": SHARE}, objective=objective))


def test_of_a_regression_likewise() -> None:
    space = {"loss": {"choice": ["mse", "huber"]}, "huber_delta": SHARE}
    (problem,) = problems_of(space, data=TABLE, objective={"metric": "val_loss"})
    assert "differ in loss and huber_delta" in problem.rule
    assert load(spec(space, data=TABLE, objective={"metric": "val_mae"}))


def test_a_field_with_one_value_changes_no_meaning_unless_some_trials_are_without_it() -> None:
    objective, zero = {"metric": "train_loss"}, {"choice": [0.0]}
    assert load(spec({"label_smoothing": zero, "learning_rate": SHARE}, objective=objective))
    space = {
        "optimizer": {"choice": ["sgd", "adam"]},
        "label_smoothing": {**zero, "when": {"optimizer": ["adam"]}},
    }
    (problem,) = problems_of(space, objective=objective)
    assert "trials that differ in label_smoothing" in problem.rule
