"""What a legal spec becomes: defaults, types, overrides, and the way to JSON and back."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from hpsearch.spec import SpecError, load
from hpsearch.spec.rules import Duration, seconds
from hpsearch.spec.search import Budget, Data, Objective, Resources, Search, Stage
from hpsearch.spec.space import Choice, Range

SPEC = """
name: try
data: {source: digits}
train: {epochs: 6, batch_size: 32.0, weight_decay: 0, hidden_units: [50, 20]}
space:
  learning_rate: {log_uniform: [1e-4, 1]}
  optimizer: {choice: [sgd, momentum]}
  momentum: {uniform: [0.8, 0.99], when: {optimizer: momentum}}
sampler: tpe
stages:
  - {name: coarse, trials: 21, epochs: 2}
  - {name: fine, trials: 11}
  - {name: finer, trials: 100, epochs: 9, continue: 3, sampler: gp, batch: 2, narrow: false}
  - {name: confirm, top: 3}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "try.yaml"
    path.write_text(SPEC)
    return path


def test_sections_left_out_have_defaults(file: Path) -> None:
    search = load(file)
    assert search.objective == Objective(metric="val_accuracy", mode="max")
    assert search.data == Data(source="digits")
    assert search.resources == Resources()
    assert search.seed == 0


def test_values_come_in_the_types_of_their_fields(file: Path) -> None:
    train = load(file).train
    assert train == {"batch_size": 32, "weight_decay": 0.0, "hidden_units": (50, 20)}
    assert isinstance(train["batch_size"], int)
    assert isinstance(train["weight_decay"], float)


def test_parameters_keep_their_order_and_conditions(file: Path) -> None:
    parameters = load(file).space.parameters
    assert list(parameters.items()) == [
        ("learning_rate", Range(kind="log_uniform", low=1e-4, high=1)),
        ("optimizer", Choice(choices=("sgd", "momentum"))),
        ("momentum", Range(kind="uniform", low=0.8, high=0.99, when={"optimizer": ("momentum",)})),
    ]


def test_stages_have_the_defaults_of_the_spec_and_of_their_sampler(file: Path) -> None:
    coarse, fine, finer, confirm = load(file).stages
    assert coarse == Stage(name="coarse", trials=21, epochs=2, sampler="tpe", batch=16)
    # train.epochs where a stage names none; a fifth of the trials, rounded up, continue.
    assert fine == Stage(name="fine", trials=11, epochs=6, sampler="tpe", batch=16, continued=3)
    assert finer == Stage(
        name="finer", trials=100, epochs=9, sampler="gp", batch=2, continued=3, narrow=False
    )
    assert confirm == Stage(name="confirm", kind="confirm", epochs=9, top=3, seeds=3)


def test_no_more_trials_continue_by_default_than_the_stage_before_has(file: Path) -> None:
    assert load(file, ["stages.finer.continue=null"]).stages[2].continued == 11


def test_a_stage_with_top_is_a_confirm_stage_whatever_its_name(file: Path) -> None:
    stage = load(file, ["stages.3={name: again, top: 2, seeds: 7, epochs: 30}"]).stages[3]
    assert stage == Stage(name="again", kind="confirm", epochs=30, top=2, seeds=7)


@pytest.mark.parametrize(("metric", "mode"), [("val_loss", "min"), ("train_accuracy", "max")])
def test_the_mode_follows_the_metric(file: Path, metric: str, mode: str) -> None:
    assert load(file, [f"objective.metric={metric}"]).objective.mode == mode


def test_a_mapping_is_as_good_as_a_file(file: Path) -> None:
    spec = {
        "name": "try",
        "data": {"source": "csv", "path": Path("a") / "b.csv"},
        "space": {"hidden_units": {"choice": ((50,), (100, 50))}},
        "stages": [{"name": "only", "trials": 4, "epochs": 1}],
    }
    search = load(spec)
    assert search.data.path == "a/b.csv"
    assert search.space.parameters["hidden_units"] == Choice(choices=((50,), (100, 50)))


def test_the_mapping_given_is_not_changed() -> None:
    spec: dict[str, Any] = {
        "name": "try",
        "data": {"source": "digits"},
        "space": {"learning_rate": {"log_uniform": [1e-4, 1]}},
        "stages": [{"name": "only", "trials": 4, "epochs": 1}],
    }
    before = json.dumps(spec)
    load(spec, ["stages.only.trials=9", "train.epochs=3"])
    assert json.dumps(spec) == before


def test_a_search_survives_json_exactly(file: Path) -> None:
    hidden_units = "space.hidden_units={choice: [[50], [100, 50]]}"
    search = load(file, ["train.hidden_units=null", hidden_units, "data.validation=100"])
    back = Search.from_json(json.loads(json.dumps(search.to_json())))
    assert back == search
    choice = back.space.parameters["hidden_units"]
    assert isinstance(choice, Choice)
    assert [hash(value) for value in choice.choices] == [hash((50,)), hash((100, 50))]
    assert isinstance(back.data.validation, int)
    assert list(back.space.parameters) == list(search.space.parameters)


def test_a_budget_limits_a_search(file: Path) -> None:
    search = load(str(file), ["budget.wall_time=1.5h", "budget.trials=7", "max_failures=3"])
    assert search.budget == Budget(wall_time=5400.0, trials=7)
    assert search.max_failures == 3
    assert load(str(file)).budget == Budget()


def test_the_epochs_of_auto_stages_are_no_limit(file: Path) -> None:
    auto = ["stages=auto", "sampler=null", "budget.epochs=1000", "budget.gpu_hours=2"]
    assert load(str(file), auto).budget == Budget(gpu_hours=2.0)


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [("90", 90), (90, 90), (1.5, 1.5), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400)],
)
def test_times_have_units(text: object, expected_s: float) -> None:
    assert seconds(text) == expected_s
    assert Duration().admits(text)


@pytest.mark.parametrize("text", ["", "h", "1w", "-1", "1e3", "1 2", True, None, [1]])
def test_what_is_no_time_is_refused(text: object) -> None:
    assert not Duration().admits(text)


def test_auto_stages_are_laid_out_by_the_budget(file: Path) -> None:
    overrides = ["stages=auto", "sampler=null", "budget.epochs=1000", "train.epochs=50"]
    assert [stage.name for stage in load(file, overrides).stages] == ["coarse", "fine"]
    full = load(file, [*overrides, "train.epochs=null"]).stages[1]
    assert full.epochs == 50


@pytest.mark.parametrize(
    ("override", "attribute", "value"),
    [
        ("seed=7", "seed", 7),
        ("data.limit=1e3", "data.limit", 1000),
        ("resources.workers=2", "resources.workers", 2),
        ("stages.0.trials=50", "stages.0.trials", 50),
        ("stages[0].trials=50", "stages.0.trials", 50),
        ("stages.coarse.trials = 50", "stages.0.trials", 50),
        ("train.dropout=0.5", "train.dropout", 0.5),
        (
            "space.learning_rate={log_uniform: [1e-5, 1]}",
            "space.parameters.learning_rate.low",
            1e-5,
        ),
        ("space.learning_rate.log_uniform.0=1e-5", "space.parameters.learning_rate.low", 1e-5),
    ],
)
def test_an_override_sets_any_key(file: Path, override: str, attribute: str, value: object) -> None:
    node: Any = load(file, [override])
    for key in attribute.split("."):
        if isinstance(node, dict):
            node = node[key]
        else:
            node = node[int(key)] if isinstance(node, tuple) else getattr(node, key)
    assert node == value


def test_an_override_of_null_takes_a_key_away(file: Path) -> None:
    search = load(file, ["space.momentum=null", "train.momentum=0.5", "stages.confirm="])
    assert "momentum" not in search.space.parameters
    assert [stage.name for stage in search.stages] == ["coarse", "fine", "finer"]


@pytest.mark.parametrize(
    ("override", "key", "rule", "closest"),
    [
        ("seed", "seed", "must be KEY=VALUE", None),
        ("=3", "=3", "must be KEY=VALUE", None),
        ("data..path=3", "data..path=3", "must be KEY=VALUE", None),
        ("name.x=3", "name.x", "leads nowhere", None),
        ("stages.9.trials=3", "stages.9.trials", "neither a name nor a number below 4", None),
        ("stages.corse.trials=3", "stages.corse.trials", "leads nowhere", "coarse"),
        ("stages.²=3", "stages.²", "leads nowhere", None),
        ("data.limit=[1", "line 1", "is no YAML", None),
    ],
)
def test_an_override_that_cannot_be_is_refused(
    file: Path, override: str, key: str, rule: str, closest: str | None
) -> None:
    with pytest.raises(SpecError) as caught:
        load(file, [override])
    (problem,) = caught.value.problems
    assert problem.file.startswith("--set")
    assert (problem.key, problem.closest) == (key, closest)
    assert rule in problem.rule


def test_a_refusal_survives_a_pickle(file: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(file, ["seed=-1"])
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems
