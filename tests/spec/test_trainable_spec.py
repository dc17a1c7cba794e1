"""Specs with a trainable of the user's own: what they may say, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import own_trainables
import pytest

import hpsearch
from hpsearch.executors.tune.schedulers import mutations, new_scheduler
from hpsearch.spec import load
from hpsearch.spec.problem import SpecError
from hpsearch.spec.search import Search
from hpsearch.storage.codec import decode, encode


def _spec(**keys: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "objective": {"metric": "loss", "mode": "min"},
        "trainable": "own_trainables:plain",
        "space": {"rate": {"log_uniform": [1e-4, 1]}},
        "stages": [{"name": "a", "trials": 3, "epochs": 4}],
        **keys,
    }


def test_names_and_values_are_the_trainables_own() -> None:
    train = {"batch_size": "huge", "layers": [8, 8], "epochs": 7}
    space = {"optimizer": {"choice": ["lbfgs", "sgd"]}, "dropout": {"uniform": [2, 3]}}
    search = load(_spec(train=train, space=space, stages=[{"name": "a", "trials": 3}]))
    assert search.train == {
        "batch_size": "huge",
        "layers": (8, 8),
        "trainable": "own_trainables:plain",
    }
    assert search.stages[0].epochs == 7
    assert search.trainable == "own_trainables:plain"
    assert search.resources.width == 1


def test_a_spec_is_stored_as_it_is_and_others_as_they_always_were() -> None:
    mine = load(_spec(tune={"scheduler": {"name": "asha", "grace_period": 2}}))
    assert Search.model_validate(decode(encode(mine))) == mine
    assert "tune" not in decode(encode(load("digits")))


def test_a_function_stands_for_its_name() -> None:
    keys = _spec(trainable=own_trainables.plain)
    assert hpsearch.Search(**keys) == load(_spec())


MANY = [{"name": n, "trials": 30, "epochs": 9} for n in "ab"]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such module": (
        {"trainable": "nowhere:fit"},
        "trainable: must name a class or function that Python can import, but there is no module "
        f"nowhere in the working folder {Path.cwd()}, nor among those that are installed: run "
        "hpsearch in the folder that has it",
    ),
    "no name": ({"trainable": "fit"}, "trainable: must be MODULE:NAME, a function of config"),
    "two arguments": (
        {"trainable": "own_trainables:of_two"},
        "trainable: must be called with config alone, as in def fit(config)",
    ),
    "another class": (
        {"trainable": "pathlib:Path"},
        "trainable: must be a subclass of ray.tune.Trainable, or a function",
    ),
    "no mode": ({"objective": {"metric": "loss"}}, "objective.mode: is required for loss"),
    "no metric": ({"objective": {}}, "objective.metric: is required"),
    "wrong mode": (
        {"objective": {"metric": "val_accuracy", "mode": "min"}},
        "objective.mode: must be max for val_accuracy; rename the metric",
    ),
    "data": ({"data": {"source": "digits"}}, "data: must be left out"),
    "seed": ({"train": {"seed": 3}}, "train.seed: is not a constant"),
    "a column": ({"space": {"value": {"uniform": [0, 1]}}}, "space.value: is the name of a column"),
    "pruner": ({"pruner": "median", "stages": MANY[:1]}, "pruner: must be none"),
    "width": ({"resources": {"width": 3}}, "resources.width: must be left out"),
    "devices": (
        {"resources": {"devices_per_trial": 2}},
        "resources.devices_per_trial: must be left out: each trial is a process of Ray Tune's",
    ),
    "scheduler": (
        {"tune": {"scheduler": "ash"}},
        "tune.scheduler: must be one of asha, hyperband, median_stopping, pbt (got 'ash')",
    ),
    "option": (
        {"tune": {"scheduler": {"name": "asha", "grace": 3}}},
        "tune.scheduler.grace: is not an option of asha",
    ),
    "grace": (
        {"tune": {"scheduler": {"name": "asha", "grace_period": 9}}},
        "tune.scheduler.grace_period: must be at most 4, the epochs of stage a",
    ),
    "population": (
        {"tune": {"scheduler": "pbt"}, "resources": {"workers": 2}},
        "resources.workers: must be left out with pbt, which has all trials at once",
    ),
    "a column of curves": (
        {"objective": {"metric": "by_fold", "mode": "min"}},
        "objective.metric: is the name of a column of the results; rename it (got by_fold)",
    ),
    "its own key": ({"train": {"trainable": 3}}, "train.trainable: is not a constant"),
    "its own key, searched": (
        {"space": {"trainable": {"uniform": [0, 1]}}},
        "space.trainable: is not a parameter of the training",
    ),
    "nothing to change": (
        {"space": {"optimizer": {"choice": ["a", "b"]}}, "tune": {"scheduler": "pbt"}},
        "space: must have a parameter without a condition that parts no branches",
    ),
    "pruner of two stages": (
        {"pruner": "median", "stages": MANY},
        "pruner: must be none",
    ),
    "check": (
        {"stages": [{"name": "check"}, {"name": "a", "trials": 3, "epochs": 4}]},
        "stages: must have no check stage",
    ),
    "tune alone": (
        {
            **{"trainable": None, "tune": {"max_failures": 1}, "data": {"source": "digits"}},
            **{"objective": {}, "space": {"learning_rate": {"log_uniform": [1e-4, 1]}}},
        },
        "tune: goes with a trainable",
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_is_told_in_a_sentence(case: str) -> None:
    keys, sentence = WRONG[case]
    with pytest.raises(SpecError) as refused:
        load(_spec(**keys))
    (problem,) = refused.value.problems
    assert sentence in str(problem)


def test_a_population_changes_what_its_trials_do_not_branch_by() -> None:
    space = {
        "rate": {"log_uniform": [1e-4, 1]},
        "units": {"log_int": [8, 64]},
        "kind": {"choice": ["a", "b"]},
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"uniform": [0, 0.9], "when": {"optimizer": "sgd"}},
    }
    found = mutations(load(_spec(space=space)))
    assert set(found) == {"rate", "units", "kind"}
    assert found["kind"] == ["a", "b"]
    assert (found["rate"].lower, found["rate"].upper) == (1e-4, 1)
    assert (found["units"].lower, found["units"].upper) == (8, 65)


@pytest.mark.parametrize("name", ["asha", "hyperband", "median_stopping", "pbt"])
def test_schedulers_are_ray_tunes_and_count_in_epochs(name: str) -> None:
    scheduler: Any = new_scheduler(load(_spec(tune={"scheduler": name})), 4)
    assert scheduler.metric == "loss"
    assert scheduler._time_attr == "training_iteration"
