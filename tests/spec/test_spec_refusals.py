"""Every way to get a spec wrong: the key path and the rule that the user is told."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from refused_specs import AUTO, BASE, assert_told, changed, problems_of

from hpsearch.spec import SpecError, load

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
}


@pytest.mark.parametrize(("changes", "key", "rule"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_told_with_its_key_path_and_rule(
    changes: dict[str, Any], key: str, rule: str
) -> None:
    assert_told(changes, key, rule)


def test_the_base_of_these_tests_is_legal() -> None:
    assert load(BASE).name == "try"


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


def test_numbers_of_numpy_are_numbers() -> None:
    tree = changed({"seed": np.int64(3), "train.dropout": np.float32(0.5)})
    search = load(tree)
    assert (search.seed, search.train["dropout"]) == (3, 0.5)


def test_a_mapping_that_contains_itself_is_refused() -> None:
    tree = copy.deepcopy(BASE)
    tree["train"]["x"] = tree
    with pytest.raises(SpecError, match="nested too deeply"):
        load(tree)
