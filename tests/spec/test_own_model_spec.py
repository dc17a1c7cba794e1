"""Specs that name a network of the user's own: its arguments are parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.coordinator.packing import pack, train_config
from hpsearch.spec import SpecError, load
from hpsearch.spec.search import Search
from hpsearch.storage.records import NewTrial
from workers.config.combination import DataShape
from workers.config.own import is_own
from workers.training.models import build_model

TRIAL: dict[str, Any] = {
    **{"stage_id": 1, "branch": "all", "generation": 1, "group": -1, "seed": 0, "replicate": 0},
    **{"start_epoch": 0, "epochs": 0, "target_epochs": 3, "until_epoch": 3},
}
SPEC: dict[str, Any] = {
    "name": "own",
    "data": {"source": "own_data:arrays"},
    "model": "own_nets:Perceptron",
    "train": {"depth": 2},
    "space": {
        "learning_rate": {"log_uniform": [1e-4, 1]},
        "width": {"log_int": [4, 16], "base": 2},
        "dropout": {"choice": [0.0, 0.5]},
    },
    "stages": [{"name": "only", "trials": 3, "epochs": 2}],
}
RATE: dict[str, Any] = {"learning_rate": {"log_uniform": [1e-4, 1]}}


def test_arguments_are_fixed_and_searched_like_fields() -> None:
    search = load(SPEC)
    assert search.train == {"depth": 2, "model": "own_nets:Perceptron"}
    config = train_config(search.train, {"learning_rate": 0.1, "width": 8, "dropout": 0.5})
    assert config.arguments == (("depth", 2), ("dropout", 0.5), ("width", 8))
    assert (config.learning_rate, config.dropout) == (0.1, 0.0)
    assert Search.from_json(search.to_json()) == search


def problems(**changes: Any) -> list[str]:
    spec = {**SPEC, **changes}
    with pytest.raises(SpecError) as refused:
        load({key: value for key, value in spec.items() if value is not None})
    return [str(problem) for problem in refused.value.problems]


def test_what_cannot_be_imported_is_all_that_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    """Nobody knows what the model's arguments are, nor is a metric unknown that is named."""
    monkeypatch.chdir(tmp_path)
    elsewhere = {"metrics": {"mine": "not_here:f"}, "objective": {"metric": "mine", "mode": "max"}}
    rule = (
        "must name a class or function that Python can import, but there is no module not_here in "
        f"the working folder {tmp_path}, nor among those that are installed: run hpsearch in the "
        "folder that has it"
    )
    found = problems(model="not_here:Net", **elsewhere)
    assert [text.removeprefix("search: ") for text in found] == [
        f"metrics.mine: {rule}",
        f"model: {rule}",
    ]
    known = problems(model="not_here:Net", train={"learning_rate": -1.0})
    assert any("learning_rate" in text for text in known)  # of fields of ours the rules are known


def test_a_module_that_lacks_another_one_is_told_as_that() -> None:
    (said,) = [text for text in problems(model="own_nets_incomplete:Net") if "model" in text]
    assert "own_nets_incomplete:Net raises ModuleNotFoundError: No module named" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "space.width: is not a parameter of the training"),
        ({"model": "Net"}, "model: must be MODULE:NAME, a class or function that returns"),
        ({"model": "own_nets:Gone"}, "model: must name a class or function that Python can import"),
        ({"model": "own_nets:broken"}, "model: needs its argument size; fix it under train, or"),
        (
            {"space": {**SPEC["space"], "widht": {"int": [1, 5]}}},
            "space.widht: is not a parameter of the training; did you mean width?",
        ),
        (
            {"space": {**SPEC["space"], "width": {"uniform": [1, 5]}}},
            "space.width.uniform: is no way to vary an integer; write int or log_int",
        ),
        ({"train": {"depth": "deep"}}, "train.depth: must be an integer (got 'deep')"),
        ({"train": {"activation": "relu"}}, "train.activation: is not a parameter of the training"),
        ({"train": {"model": "mlp"}}, "train.model: is not a parameter of the training"),
        ({"model": "own_nets:schedules"}, "has an argument epochs, which is a field of the"),
        ({"model": "own_nets:clash"}, "has an argument learning_rate, which is a field of the"),
    ],
)
def test_what_does_not_go_with_the_model_is_told(changes: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in problems(**changes)), problems(**changes)


@pytest.mark.parametrize("text", ["a:b", "pkg.mod:Name", "_a.b1:c_2"])
def test_module_and_name(text: str) -> None:
    assert is_own(text)


@pytest.mark.parametrize("text", ["a", "a:", ":b", "a b:c", "../a:b", "a:b:c", "a:b()", "os.:x"])
def test_what_is_no_module_and_name(text: str) -> None:
    assert not is_own(text)


def test_trials_of_other_arguments_are_packed_apart() -> None:
    search = load(SPEC)
    trials = [
        NewTrial(
            number=number,
            params={"learning_rate": 0.1, "width": width, "dropout": dropout},
            **TRIAL,
        )
        for number, (width, dropout) in enumerate([(4, 0.0), (8, 0.0), (4, 0.5), (4, 0.0)])
    ]
    packed = pack(trials, search.train, first_group=1, num_slots=1)
    groups = [trial.group for trial in packed]
    assert groups[0] == groups[3]
    assert len({*groups}) == 3


def test_a_module_that_ends_python_when_it_is_imported_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a script that reads its command line."""
    (tmp_path / "script_of_ones_own.py").write_text("raise SystemExit('bye')")
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = problems(model="script_of_ones_own:Net", train={}, space=RATE)
    assert problem.endswith("raises SystemExit: bye")


def test_a_class_without_a_signature_is_told() -> None:
    (problem,) = problems(model="builtins:int", train={}, space=RATE)
    assert "must have arguments that Python can tell, but ValueError" in problem


LOOSE: dict[str, Any] = {
    "units": {"choice": [4, 8]},
    "hidden": {"choice": [[4], [5, 6], []]},
    "extra": {"choice": [None, 3]},
    "kind": {"choice": ["relu", "tanh"]},
    "sizes": {"choice": [[2], None]},
}


def test_arguments_of_any_kind_reach_the_model_as_yaml_has_them() -> None:
    """Those without annotation, with several types, None and lists; integers stay integers."""
    search = load(
        {**SPEC, "model": "own_nets:Loose", "train": {"norm": "batch"}, "space": RATE | LOOSE}
    )
    values = {"units": 8, "hidden": (5, 6), "extra": None, "kind": "tanh", "sizes": (2,)}
    config = train_config(search.train, values)
    assert dict(config.arguments) == {**values, "norm": "batch"}
    data = DataShape(num_features=12, image=None, num_outputs=4, is_regression=False, num_train=50)
    shapes = [spec.shape for spec in build_model(config, data).parameters if spec.kind == "weight"]
    assert shapes == [(5, 12), (6, 5), (2, 6), (8, 2), (4, 8)]


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("kind", "gelu", "must be one of relu, tanh (got 'gelu')"),
        ("extra", 2.5, "must be an integer (got 2.5)"),
        ("sizes", ["a"], "must be an integer, or a list of them"),
        ("norm", {"a": 1}, "must be a number, text, true or false, or a list of these"),
    ],
)
def test_arguments_are_held_against_their_annotations(
    argument: str, value: object, said: str
) -> None:
    train = {"units": 3, argument: value}
    found = problems(model="own_nets:Loose", train=train, space=RATE)
    assert [problem for problem in found if said in problem] == found
