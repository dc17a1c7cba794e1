"""What a spec says of its task, its folds and its objective; fields of every kind in all places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.spec import Problem, SpecError, load
from hpsearch.spec.search import Objective, Search
from hpsearch.spec.space import Choice
from hpsearch.storage import codec
from workers.config import TrainConfig
from workers.metrics import CLASS_OBJECTIVES, OBJECTIVES, REGRESSION_OBJECTIVES

TABLE = {"source": "csv", "path": "t.csv", "task": "regression"}


def spec(**sections: Any) -> dict[str, Any]:
    return {
        "name": "try",
        "data": {"source": "digits"},
        "space": {"learning_rate": {"log_uniform": [1e-4, 1]}},
        "stages": [{"name": "only", "trials": 4, "epochs": 1}],
        **sections,
    }


def problem_of(overrides: tuple[str, ...] = (), **sections: Any) -> Problem:
    with pytest.raises(SpecError) as caught:
        load(spec(**sections), overrides)
    (problem,) = caught.value.problems
    return problem


# Objectives


def test_the_default_objective_is_that_of_the_task() -> None:
    assert load(spec()).objective == Objective(metric="val_accuracy", mode="max")
    assert load(spec(data=TABLE)).objective == Objective(metric="val_r2", mode="max")


@pytest.mark.parametrize("metric", OBJECTIVES)
def test_every_objective_has_its_good_direction_and_its_tasks(metric: str) -> None:
    for data, of_task in ((None, CLASS_OBJECTIVES), (TABLE, REGRESSION_OBJECTIVES)):
        given = spec(objective={"metric": metric}, **({"data": data} if data else {}))
        if metric in of_task:
            assert load(given).objective == Objective(metric=metric, mode=OBJECTIVES[metric])
            bad = {"max": "min", "min": "max"}[OBJECTIVES[metric]]
            given["objective"] = {"metric": metric, "mode": bad}
            problem = problem_of(**given)
            assert problem.key == "objective.mode"
            assert f"must be {OBJECTIVES[metric]} for {metric}" in problem.rule
        else:
            problem = problem_of(**given)
            assert problem.key == "objective.metric"
            assert f"must be one of {', '.join(of_task)} for data of task" in problem.rule


# Folds


def test_folds_stand_in_the_place_of_a_validation_part() -> None:
    search = load(spec(data={"source": "digits", "validation": {"folds": 5}}))
    assert (search.data.folds, search.data.rows_per_trial) == (5, 5)
    assert Search.from_json(search.to_json()) == search
    plain = load(spec(data={"source": "digits", "validation": 0.3}))
    assert (plain.data.folds, plain.data.rows_per_trial, plain.data.validation) == (None, 1, 0.3)


@pytest.mark.parametrize(
    ("validation", "key", "rule"),
    [
        ({"folds": 1}, "data.validation.folds", "must be an integer >= 2"),
        ({"folds": 2.5}, "data.validation.folds", "must be an integer >= 2"),
        ({}, "data.validation.folds", "is required"),
        ({"folds": None}, "data.validation.folds", "is required"),
        ([5], "data.validation", "a whole number of rows >= 1, or {folds: 5}"),
    ],
)
def test_folds_that_cannot_be_are_told_by_their_key(validation: Any, key: str, rule: str) -> None:
    problem = problem_of(data={"source": "digits", "validation": validation})
    assert problem.key == key
    assert rule in problem.rule


def test_a_fold_spelt_wrong_is_told_with_the_right_name() -> None:
    with pytest.raises(
        SpecError, match=r"data\.validation\.fold: is not a key of validation; did you"
    ):
        load(spec(data={"source": "digits", "validation": {"fold": 5}}))


def test_folds_may_be_overridden_on_the_command_line() -> None:
    assert load(spec(), ["data.validation.folds=4"]).data.folds == 4
    assert load(spec(), ["data.validation={folds: 3}"]).data.folds == 3


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"source": "digits", "task": "regression"}, "data.task"),
        ({"source": "digits", "task": "clustering"}, "data.task"),
        ({"source": "digits", "preprocess": ["pca", "whiten"]}, "data.preprocess"),
        ({"source": "digits", "preprocess": ["mean_images"]}, "data.preprocess[0]"),
    ],
)
def test_data_that_cannot_be_are_told_by_their_key(data: dict[str, Any], key: str) -> None:
    assert problem_of(data=data).key == key


# Fields of every kind: text, booleans, optional numbers, lists of real numbers

VALUES: dict[str, list[Any]] = {
    "warm_start": ["digits/3", "net.safetensors#2", "./a b/net.safetensors"],
    "centered": [True, False],
    "gradient_clip_norm": [1, 0.5],
    "lr_multipliers": [[1, 2], [0.5, 1], []],
    "lr_milestones": [[3, 6], 4],
    "patience": [5, 10],
    "loss": ["hinge", "cross_entropy"],
    "momentum": [0.5, 0],
}
READERS = {"centered": {"optimizer": "rmsprop"}, "lr_milestones": {"lr_schedule": "step"}}


@pytest.mark.parametrize("name", VALUES)
def test_a_field_may_be_fixed_chosen_and_overridden(name: str) -> None:
    for value in VALUES[name]:
        expected = TrainConfig.of({name: value})
        fixed = load(spec(train={name: value}))
        text = codec.encode(value)
        for search in (fixed, load(spec(), [f"train.{name}={text}"])):
            back = Search.model_validate(codec.decode(codec.encode(search)))
            for train in (search.train, back.train):
                assert TrainConfig(**train) == expected
                assert repr(train[name]) == repr(getattr(expected, name))
    chosen = spec(train=READERS.get(name, {}), space={name: {"choice": VALUES[name]}})
    overridden = [f"space.{name}.choice={codec.encode(VALUES[name])}"]
    for search in (load(chosen), load(spec(train=READERS.get(name, {})), overridden)):
        parameter = search.space.parameters[name]
        assert isinstance(parameter, Choice)
        values = [getattr(TrainConfig.of({name: value}), name) for value in VALUES[name]]
        assert repr(list(parameter.choices)) == repr(values)


@pytest.mark.parametrize("name", ["warm_start", "gradient_clip_norm", "patience", "loss"])
def test_nothing_may_be_a_choice_of_an_optional_field(name: str) -> None:
    search = load(spec(space={name: {"choice": [None, *VALUES[name]]}}))
    parameter = search.space.parameters[name]
    assert isinstance(parameter, Choice)
    assert parameter.choices[0] is None
    assert problem_of(space={"momentum": {"choice": [None, 0.5]}}).key == "space.momentum.choice[0]"


@pytest.mark.parametrize(
    ("section", "key", "rule"),
    [
        ({"train": {"warm_start": 3}}, "train.warm_start", "must be text"),
        ({"train": {"warm_start": "digits"}}, "train.warm_start", "must be SEARCH/NUMBER"),
        ({"train": {"warm_start": "a/b/3"}}, "train.warm_start", "must be SEARCH/NUMBER"),
        ({"train": {"warm_start": "a.pt"}}, "train.warm_start", "must be SEARCH/NUMBER"),
        (
            {"space": {"warm_start": {"choice": ["a/1", "a/-1"]}}},
            "space.warm_start.choice[1]",
            "must be SEARCH/NUMBER",
        ),
        ({"space": {"warm_start": {"uniform": [0, 1]}}}, "space.warm_start.uniform", "no way to"),
        ({"space": {"centered": {"int": [0, 1]}}}, "space.centered.int", "no way to vary true or"),
        ({"space": {"dropout": {"uniform": [0, 1]}}}, "space.dropout.uniform[1]", "in [0, 1)"),
        ({"train": {"momentum": 1.5}}, "train.momentum", "must be a number in [0, 1)"),
        ({"train": {"learning_rate": -0.1}}, "train.learning_rate", "must be a number > 0"),
        ({"train": {"lr_multipliers": [1, -1]}}, "train.lr_multipliers", "must be a number >= 0"),
        ({"space": {"spread": {"uniform": [0, 1]}}}, "space.spread", "the name of a column"),
    ],
)
def test_a_value_off_its_domain_is_refused_when_the_space_is_read(
    section: dict[str, Any], key: str, rule: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load(spec(**section))
    problem = caught.value.problems[0]
    assert problem.key == key
    assert rule in problem.rule


def test_a_spec_in_yaml_says_it_all(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        """
name: houses
objective: {metric: val_mae}
data: {source: csv, path: houses.csv, target: price, task: regression, validation: {folds: 5}}
train:
  {loss: huber, optimizer: rmsprop, patience: 4, lr_multipliers: [1, 0.5], warm_start: old/17}
space:
  learning_rate: {log_uniform: [1e-4, 1]}
  centered: {choice: [true, false]}
stages: [{name: only, trials: 4, epochs: 9}]
"""
    )
    search = load(tmp_path / "s.yaml")
    assert search.objective == Objective(metric="val_mae", mode="min")
    assert (search.data.task, search.data.folds) == ("regression", 5)
    assert search.train["lr_multipliers"] == (1.0, 0.5)
    assert search.train["warm_start"] == "old/17"
