"""A spec held against its data: what is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.spec import Problem, SpecError, load, load_data
from workers.data import own


def spec(**sections: Any) -> dict[str, Any]:
    return {
        "name": "try",
        "data": {"source": "digits"},
        "space": {"learning_rate": {"log_uniform": [1e-4, 1]}},
        "stages": [{"name": "only", "trials": 4, "epochs": 1}],
        **sections,
    }


def problem_of(**sections: Any) -> Problem:
    with pytest.raises(SpecError) as caught:
        load_data(load(spec(**sections)))
    (problem,) = caught.value.problems
    assert problem.file == "try"
    return problem


def test_data_that_fit_are_loaded() -> None:
    dataset = load_data(load(spec(data={"source": "digits", "limit": 200, "validation": 40})))
    assert (len(dataset.x_train), len(dataset.x_validation)) == (160, 40)


def test_the_seed_of_the_search_keys_the_split() -> None:
    first, again, other = (load_data(load(spec(seed=seed))).y_train for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_loading_a_spec_reads_no_data() -> None:
    assert load(spec(data={"source": "npz", "path": "nowhere.npz"})).data.path == "nowhere.npz"


def test_a_missing_file_is_told_by_its_key(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere.npz")
    problem = problem_of(data={"source": "npz", "path": path})
    assert problem.key == "data.path"
    assert path in problem.rule


def test_a_truncated_file_is_told_by_its_key(tmp_path: Path) -> None:
    path = tmp_path / "half.npz"
    np.savez(path, x=np.zeros((50, 3)), y=np.arange(50) % 2)
    path.write_bytes(path.read_bytes()[:-200])
    assert problem_of(data={"source": "npz", "path": str(path)}).key == "data.path"


@pytest.mark.parametrize(("key", "value"), [("limit", 1798), ("validation", 1797)])
def test_more_rows_than_there_are_is_told_by_its_key(key: str, value: int) -> None:
    assert problem_of(data={"source": "digits", key: value}).key == f"data.{key}"


DATA = {"source": "digits", "limit": 100, "validation": 20}
CASES = [
    {"choice": [8], "when": {"optimizer": ["sgd", "gradient_descent"]}},
    {"choice": [81], "when": {"optimizer": "adam"}},
]
OPTIMIZER = {"optimizer": {"choice": ["sgd", "adam", "gradient_descent"]}}


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"train": {"batch_size": 81}}, "train.batch_size"),
        ({"space": {"batch_size": {"choice": [80, 81]}}}, "space.batch_size.choice[1]"),
        ({"space": {"batch_size": {"int": [8, 81]}}}, "space.batch_size.int[1]"),
        ({"space": {"batch_size": CASES}}, "space.batch_size[1].choice[0]"),
    ],
)
def test_a_batch_larger_than_the_training_part_is_told(sections: dict[str, Any], key: str) -> None:
    if "space" in sections:
        sections = {"space": {**OPTIMIZER, **sections["space"]}}
    problem = problem_of(data=DATA, **sections)
    assert (problem.key, problem.value) == (key, "81")
    assert "must be at most 80, the number of training rows" in problem.rule


def test_the_default_batch_is_held_against_the_rows_too() -> None:
    assert problem_of(data={**DATA, "validation": 80}).key == "train.batch_size"


def test_a_batch_of_all_training_rows_is_legal() -> None:
    assert len(load_data(load(spec(data=DATA, train={"batch_size": 80}))).x_train) == 80


FEW = {**DATA, "validation": 80}
WHOLE = {"choice": ["gradient_descent"]}


@pytest.mark.parametrize(
    "sections",
    [
        {"train": {"optimizer": "gradient_descent"}},
        {"train": {"batch_size": 81}, "space": {"optimizer": WHOLE}},
    ],
)
def test_gradient_descent_takes_all_rows_whatever_the_batch(sections: dict[str, Any]) -> None:
    assert load_data(load(spec(data=FEW, **sections))).num_train == 20


def test_one_optimizer_with_minibatches_is_enough_to_hold_the_batch_against_the_rows() -> None:
    space = {"optimizer": {"choice": ["gradient_descent", "sgd"]}}
    assert problem_of(data=FEW, space=space).key == "train.batch_size"


def test_folds_that_leave_too_few_rows_are_told_where_a_spec_has_them() -> None:
    problem = problem_of(data={"source": "digits", "validation": {"folds": 1798}})
    assert problem.key == "data.validation.folds"


@pytest.mark.parametrize(
    ("sections", "key", "value", "rule"),
    [
        (
            {"train": {"batch_size": 3}},
            "train.batch_size",
            "3",
            "must be at least 4, an example for each device that has a part of it",
        ),
        (
            {"space": {**OPTIMIZER, "batch_size": {"int": [2, 8]}}},
            "space.batch_size.int[0]",
            "2",
            "must be at least 4, an example for each device that has a part of it",
        ),
        (
            {"data": {**DATA, "validation": 3}},
            "data.validation",
            "3",
            "must leave at least 4 examples, one for each device that has a part",
        ),
    ],
)
def test_fewer_examples_than_devices_are_told(
    sections: dict[str, Any], key: str, value: str, rule: str
) -> None:
    spec = {"data": DATA, "resources": {"devices_per_trial": 4}, **sections}
    problem = problem_of(**spec)
    assert (problem.key, problem.value, problem.rule) == (key, value, rule)


def test_examples_that_do_not_fit_in_memory_take_one_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, several = {"source": "streamed_data:blobs"}, {"devices_per_trial": 2}
    load_data(load(spec(data=data, resources=several)))
    monkeypatch.setattr(own, "free_bytes", lambda: 1)
    load_data(load(spec(data=data)))
    problem = problem_of(data=data, resources=several)
    assert (problem.key, problem.rule) == (
        "data.stream",
        "examples cannot be streamed to devices that part each minibatch in 2; set "
        "resources.parallel to model, or devices_per_trial to 1, or stream to false if they fit in "
        "memory",
    )
    load_data(load(spec(data=data, resources={**several, "parallel": "model"})))
