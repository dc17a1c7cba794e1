"""Every way to get a spec wrong: the key path and the rule that the user is told."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
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


def problems_of(changes: dict[str, Any], overrides: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        load(changed(changes), overrides)
    assert all("\n" not in str(problem) for problem in caught.value.problems)
    return caught.value.problems


def test_the_base_of_these_tests_is_legal() -> None:
    assert load(BASE).name == "try"


# changes, key path, part of the rule
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    # several devices
    "no devices": ({"resources": {"devices_per_trial": 0}}, "resources.devices_per_trial", "in [1"),
    "half a device": (
        {"resources": {"devices_per_trial": 1.5}},
        "resources.devices_per_trial",
        "must be an integer",
    ),
    "no such form": (
        {"resources": {"devices_per_trial": 2, "parallel": "pipeline"}},
        "resources.parallel",
        "must be one of data, model, hybrid",
    ),
    "a grid of three": (
        {"resources": {"devices_per_trial": 3, "parallel": "hybrid"}},
        "resources.devices_per_trial",
        "must be a product with parallel hybrid, as 4 = 2 x 2: parts of minibatches by parts of "
        "layers; change it, or say data or model",
    ),
    "parallel on one device": (
        {"resources": {"parallel": "data"}},
        "resources.parallel",
        "is for trials of several devices; set devices_per_trial, or leave it out",
    ),
    "devices that share a GPU": (
        {"resources": {"devices_per_trial": 2, "gpus_per_worker": 0.5}},
        "resources.gpus_per_worker",
        "must be auto, 1, or 0 with devices_per_trial 2",
    ),
    "a loss of one's own on several devices": (
        {"resources": {"devices_per_trial": 2}, "loss": "own_losses:focal"},
        "loss",
        "a loss of your own is of whole minibatches, which the devices of a trial part in 2; leave "
        "it out, or set resources.parallel to model, or devices_per_trial to 1",
    ),
    "metrics of one's own on several devices": (
        {"resources": {"devices_per_trial": 2}, "metrics": {"level": "own_losses:level"}},
        "metrics",
        "metrics of your own are of the whole validation part, which the devices of a trial part",
    ),
    "streamed to several devices": (
        {
            "resources": {"devices_per_trial": 2},
            "data": {"source": "streamed_data:blobs", "stream": True},
        },
        "data.stream",
        "examples cannot be streamed to devices that part each minibatch in 2; set "
        "resources.parallel to model, or devices_per_trial to 1, or stream to false",
    ),
    # names and required keys
    "name of digits alone": ({"name": "12"}, "name", "must be a letter"),
    "name missing": ({"name": None}, "name", "is required"),
    "data missing": ({"data": None}, "data", "is required: a mapping"),
    "space missing": ({"space": None}, "space", "is required: a mapping"),
    "stages missing": ({"stages": None}, "stages", "is required: a list of stages, or auto"),
    "section no mapping": ({"data": [1]}, "data", "must be a mapping"),
    "key not a string": (
        {"train": {"epochs": 4, 3: 4}},
        "train.3",
        "is not a parameter of the training",
    ),
    "sampler": ({"sampler": "bayes"}, "sampler", "must be one of random, qmc, grid"),
    # numbers
    "seed negative": ({"seed": -1}, "seed", "must be an integer >= 0"),
    "seed fractional": ({"seed": 0.5}, "seed", "must be an integer >= 0"),
    "seed true": ({"seed": True}, "seed", "must be an integer >= 0"),
    "seed endless": ({"seed": 10**400}, "seed", "must be finite"),
    "nan": ({"train.learning_rate": float("nan")}, "train.learning_rate", "must be finite"),
    "infinite": ({"train.learning_rate": float("inf")}, "train.learning_rate", "must be finite"),
    # objective
    "metric": ({"objective": {"metric": "mse"}}, "objective.metric", "must be one of val_acc"),
    "mode": ({"objective": {"mode": "up"}}, "objective.mode", "must be one of max, min"),
    "accuracy to min": (
        {"objective": {"metric": "val_accuracy", "mode": "min"}},
        "objective.mode",
        "must be max for val_accuracy",
    ),
    "loss to max": (
        {"objective": {"metric": "val_loss", "mode": "max"}},
        "objective.mode",
        "must be min for val_loss",
    ),
    # data
    "source missing": ({"data": {}}, "data.source", "is required"),
    "path missing": ({"data": {"source": "mnist"}}, "data.path", "needs a path"),
    "path to nowhere": ({"data.path": "x"}, "data.path", "is embedded and reads no file"),
    "path no text": ({"data.path": 3}, "data.path", "must be the path of a file"),
    "target of no table": ({"data.target": "y"}, "data.target", "names a column of a table"),
    "validation all": ({"data.validation": 1.0}, "data.validation", "must be a fraction in (0, 1)"),
    "validation none": ({"data.validation": 0}, "data.validation", "must be a fraction in (0, 1)"),
    "limit": ({"data.limit": 0}, "data.limit", "must be an integer >= 2"),
    "preprocess no list": ({"data.preprocess": "x"}, "data.preprocess", "must be a list"),
    # train
    "fixed off its domain": ({"train.dropout": 1}, "train.dropout", "must be a number in [0, 1)"),
    "train.epochs": ({"train.epochs": 0}, "train.epochs", "must be an integer in [1, 1e+06]"),
    "widths": (
        {"train.hidden_units": [50, 0]},
        "train.hidden_units",
        "must be an integer in [1, 1e+06]",
    ),
    # resources, budget
    "workers": ({"resources": {"workers": 0}}, "resources.workers", "must be auto or an integer"),
    "no epochs": ({"budget": {"epochs": 0}}, "budget.epochs", "an integer in [1, 1e+12]"),
    "no time": (
        {"budget": {"wall_time": "0h"}},
        "budget.wall_time",
        "a time > 0 and <= 3650d, in seconds",
    ),
    "a time in words": ({"budget": {"wall_time": "an hour"}}, "budget.wall_time", "as in 90m"),
    "no gpu hours": ({"budget": {"gpu_hours": 0}}, "budget.gpu_hours", "a number in (0, 1e+09]"),
    "an endless time": ({"budget": {"wall_time": f"{10**400}d"}}, "budget.wall_time", "<= 3650d"),
    "a time of centuries": ({"budget": {"wall_time": "3651d"}}, "budget.wall_time", "<= 3650d"),
    "a time in other digits": ({"budget": {"wall_time": "٣h"}}, "budget.wall_time", "as in 90m"),
    "epochs without end": ({"budget": {"epochs": 10**13}}, "budget.epochs", "in [1, 1e+12]"),
    "trials without end": ({"budget": {"trials": 10**10}}, "budget.trials", "in [1, 1e+09]"),
    "gpu hours without end": ({"budget": {"gpu_hours": 1e10}}, "budget.gpu_hours", "1e+09]"),
    "no failures": ({"max_failures": 0}, "max_failures", "an integer in [1, 1e+09]"),
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
    "reserved": ({"space.value": {"uniform": [0, 1]}}, "space.value", "the name of a column"),
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
    # stages
    "no stages": ({"stages": []}, "stages", "must have at least one stage"),
    "stages of another word": ({"stages": "all"}, "stages", "must be a list of stages, or auto"),
    "stage no mapping": ({"stages": ["coarse"]}, "stages[0]", "must be a mapping"),
    "trials": ({"stages.1.trials": 0}, "stages[1].trials", "must be an integer in [1, 1e+07]"),
    "trials missing": ({"stages.0": {"name": "a"}}, "stages[0].trials", "is required"),
    "stage name": ({"stages.0.name": "1st"}, "stages[0].name", "must be a letter"),
    "epochs": ({"stages.1.epochs": -3}, "stages[1].epochs", "must be an integer in [1, 1e+06]"),
    "epochs nowhere": ({"train": {}}, "stages[0].epochs", "is required"),
    "same name": ({"stages.1.name": "coarse"}, "stages[1].name", "the name of an earlier stage"),
    "seeds of a search stage": ({"stages.1.seeds": 3}, "stages[1].seeds", "a search stage"),
    "trials of a confirm stage": ({"stages.2.trials": 3}, "stages[2].trials", "a confirm stage"),
    "top missing": ({"stages.2": {"name": "confirm"}}, "stages[2].top", "is required"),
    "top too large": ({"stages.2.top": 29}, "stages[2].top", "must be at most 28, the trials"),
    "confirm first": (
        {"stages": [{"name": "confirm", "top": 1}]},
        "stages[0]",
        "needs a search stage before it",
    ),
    "search after confirm": (
        {
            "stages.2": {"name": "sure", "top": 1},
            "stages": [
                {"name": "a", "trials": 5},
                {"name": "confirm", "top": 1},
                {"name": "b", "trials": 5},
            ],
        },
        "stages[2]",
        "must come before every confirm stage",
    ),
    "check not first": (
        {"stages.1": {"name": "check"}},
        "stages[1]",
        "is a check stage and must come first",
    ),
    "trials of a check stage": (
        {"stages.0": {"name": "check", "trials": 3}},
        "stages[0].trials",
        "is not a key of a check stage",
    ),
    "check alone": (
        {"stages": [{"name": "check"}]},
        "stages",
        "must have a search stage after the check stage",
    ),
    "more branches than trials after a check": (
        {"stages": [{"name": "check"}, {"name": "a", "trials": 2}]},
        "stages[1].trials",
        "must give each of the 3 branches of the space a trial",
    ),
    "continue in the first": (
        {"stages.0.continue": 2},
        "stages[0].continue",
        "must be 0 in the first stage",
    ),
    "continue beyond the stage": (
        {"stages.1.continue": 11},
        "stages[1].continue",
        "must be at most 10, the trials of the stage",
    ),
    "continue beyond those before": (
        {"stages.1.trials": 50, "stages.1.continue": 21},
        "stages[1].continue",
        "must be at most 20, the trials of stage coarse before it",
    ),
    "continue to fewer epochs": (
        {"stages.1.epochs": 4, "stages.1.continue": 2},
        "stages[1].epochs",
        "must be more than 4, to continue",
    ),
    "more branches than trials": (
        {"stages.0.trials": 2, "stages.1.trials": 1, "stages.2.top": 1},
        "stages[0].trials",
        "must give each of the 3 branches of the space a trial",
    ),
    "gp over choices": (
        {"space": {"batch_size": {"choice": [32, 64]}}, "stages.1.sampler": "gp"},
        "stages[1].sampler",
        "needs a range in the space",
    ),
    "cmaes over choices": (
        {"space": {"batch_size": {"choice": [32, 64]}}, "stages.0.sampler": "cmaes"},
        "stages[0].sampler",
        "needs a range in the space",
    ),
    # auto
    "auto without budget": ({"stages": "auto"}, "budget.epochs", "is required"),
    "auto with sampler": ({**AUTO, "sampler": "tpe"}, "sampler", "is chosen by stages: auto"),
    "auto on a small budget": (
        {**AUTO, "budget": {"epochs": 19}},
        "budget.epochs",
        "must be at least 20 epochs for full trainings of 4",
    ),
    "auto with too few for the branches": (
        {
            **AUTO,
            "budget": {"epochs": 20},
            "space.optimizer": {"choice": ["sgd", "momentum", "nesterov", "adam", "adamw"]},
        },
        "budget.epochs",
        "must give each of the 5 branches",
    ),
    "auto over choices": (
        {**AUTO, "space": {"batch_size": {"choice": [32, 64]}}},
        "stages",
        "needs a range in the space",
    ),
}


@pytest.mark.parametrize(("changes", "key", "rule"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_told_with_its_key_path_and_rule(
    changes: dict[str, Any], key: str, rule: str
) -> None:
    problems = problems_of(changes)
    assert [problem.key for problem in problems] == [key]
    assert rule in problems[0].rule


TYPOS: dict[str, tuple[dict[str, Any], str, str]] = {
    "top": ({"stagess": []}, "stagess", "stages"),
    "objective": ({"objective": {"metrc": 1}}, "objective.metrc", "metric"),
    "metric": ({"objective": {"metric": "val_acuracy"}}, "objective.metric", "val_accuracy"),
    "source": ({"data.source": "digit"}, "data.source", "digits"),
    "data": ({"data.vaildation": 0.1}, "data.vaildation", "validation"),
    "preprocess": ({"data.preprocess": ["zero_centre"]}, "data.preprocess[0]", "zero_center"),
    "train": ({"train.weight_decy": 0.1}, "train.weight_decy", "weight_decay"),
    "resources": ({"resources": {"worker": 1}}, "resources.worker", "workers"),
    "parameter": ({"space.dropuot": {"uniform": [0, 0.5]}}, "space.dropuot", "dropout"),
    "kind": (
        {"space.dropout": {"unifrom": [0, 0.5]}},
        "space.dropout.unifrom",
        "uniform",
    ),
    "choice": (
        {"space.activation": {"choice": ["rellu"]}},
        "space.activation.choice[0]",
        "relu",
    ),
    "parent": (
        {"space.momentum.when": {"optimiser": "sgd"}},
        "space.momentum.when.optimiser",
        "optimizer",
    ),
    "parent's value": (
        {"space.momentum.when": {"optimizer": "momentun"}},
        "space.momentum.when.optimizer",
        "momentum",
    ),
    "stage": ({"stages.0.trails": 3}, "stages[0].trails", "trials"),
    "stage's sampler": ({"stages.0.sampler": "sobel"}, "stages[0].sampler", None),
    "stage's required key": (
        {"stages.0": {"name": "a", "trails": 3, "epochs": 1}},
        "stages[0].trails",
        "trials",
    ),
    "budget": ({**AUTO, "budget": {"epochs": 900, "epoch": 9}}, "budget.epoch", "epochs"),
}


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("stages[0].trials", 10**7),
        ("stages[0].epochs", 10**6),
        ("stages[0].batch", 10**7),
        ("stages[0].expand", 10**9),
        ("stages[1].continue", 10**9),
        ("stages[2].top", 10**7),
        ("stages[2].seeds", 10**7),
        ("stages[2].epochs", 10**6),
        ("train.epochs", 10**6),
        ("resources.width", 10**6),
        ("resources.workers", 10**9),
        ("resources.checkpoint_every", 10**9),
        ("resources.keep_checkpoints", 10**9),
        ("max_failures", 10**9),
    ],
)
@pytest.mark.parametrize("more", [1, 10**17])
def test_what_is_more_than_any_database_holds_is_refused(key: str, most: int, more: int) -> None:
    path = key.replace("[", ".").replace("]", "")
    (problem,) = problems_of({"resources": {}, "train": {"epochs": 4}, path: most + more})
    assert problem.key == key
    assert f", {most:g}]" in problem.rule


def test_the_trials_of_a_confirm_stage_are_bounded_together() -> None:
    assert load(changed({"stages.2.seeds": 3 * 10**6})).stages[2].seeds == 3 * 10**6
    (problem,) = problems_of({"stages.2.seeds": 4 * 10**6})
    assert problem.key == "stages[2].seeds"
    assert "times the 3 of top are its trials, which must be an integer in" in problem.rule


@pytest.mark.parametrize("budget", [3 * 10**7, 10**12])
def test_stages_that_are_chosen_are_no_larger_than_those_that_are_given(budget: int) -> None:
    (problem,) = problems_of({**AUTO, "train": {}, "budget": {"epochs": budget}})
    assert problem.key == "budget.epochs"
    assert "of at most 1e+07 trials and 1e+06 epochs a trial" in problem.rule


@pytest.mark.parametrize(("changes", "key", "closest"), TYPOS.values(), ids=TYPOS.keys())
def test_a_misspelt_name_is_told_with_the_closest_valid_one(
    changes: dict[str, Any], key: str, closest: str | None
) -> None:
    problems = problems_of(changes)
    assert [(problem.key, problem.closest) for problem in problems] == [(key, closest)]


def test_a_problem_is_one_line_with_file_key_rule_value_and_hint() -> None:
    misspelt = problems_of({"space.learning_rat": {"log_uniform": [1e-4, 1]}})
    assert str(misspelt[0]) == (
        "search: space.learning_rat: is not a parameter of the training; "
        "did you mean learning_rate?"
    )
    zero = problems_of({"stages.1.trials": 0})
    assert str(zero[0]) == "search: stages[1].trials: must be an integer in [1, 1e+07] (got 0)"


def test_all_problems_are_told_at_once_each_on_its_line() -> None:
    changes = {
        "seed": -1,
        "data.limit": 0,
        "train.dropout": 2,
        "space.weight_decay": {"log_uniform": [1, 0]},
        "stages.0.trials": 0,
        "stages.2.seeds": 0,
    }
    with pytest.raises(SpecError) as caught:
        load(changed(changes), ["resources.width=none"])
    assert [problem.key for problem in caught.value.problems] == [
        "seed",
        "data.limit",
        "train.dropout",
        "resources.width",
        "space.weight_decay.log_uniform",
        "space.weight_decay.log_uniform",  # upside down, and zero on a log scale
        "stages[0].trials",
        "stages[2].seeds",
    ]
    assert len(str(caught.value).splitlines()) == 8


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


def test_a_broken_stage_raises_no_false_alarm_about_those_after_it() -> None:
    problems = problems_of({"stages.0.trials": 0, "stages.2.top": 25})
    assert [problem.key for problem in problems] == ["stages[0].trials"]


def test_numbers_of_numpy_are_numbers() -> None:
    tree = changed({"seed": np.int64(3), "train.dropout": np.float32(0.5)})
    search = load(tree)
    assert (search.seed, search.train["dropout"]) == (3, 0.5)


def test_a_mapping_that_contains_itself_is_refused() -> None:
    tree = copy.deepcopy(BASE)
    tree["train"]["x"] = tree
    with pytest.raises(SpecError, match="nested too deeply"):
        load(tree)
