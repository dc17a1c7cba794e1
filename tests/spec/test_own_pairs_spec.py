"""Specs that name a loss and metrics of the user's own."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.coordinator.packing import train_config
from hpsearch.spec import SpecError, load
from hpsearch.spec.search import Objective, Search, Tune
from hpsearch.storage import codec

SPEC: dict[str, Any] = {
    "name": "own",
    "data": {"source": "digits"},
    "loss": "own_losses:focal",
    "metrics": {"top2": "own_losses:top2", "right": "own_losses:Accuracy"},
    "space": {"learning_rate": {"log_uniform": [1e-4, 1]}},
    "stages": [{"name": "only", "trials": 3, "epochs": 2}],
}


def test_a_loss_is_a_field_of_the_training_and_metrics_are_the_searches() -> None:
    search = load(SPEC)
    assert search.train == {"loss": "own_losses:focal"}
    assert train_config(search.train, {"learning_rate": 0.1}).loss == "own_losses:focal"
    assert search.metrics == SPEC["metrics"]
    assert search.objective == Objective()
    assert Search.from_json(search.to_json()) == search
    assert search.python_names == ("own_losses:focal", "own_losses:top2", "own_losses:Accuracy")


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_metric_of_ones_own_may_be_the_objective(mode: str) -> None:
    search = load({**SPEC, "objective": {"metric": "top2", "mode": mode}})
    assert search.objective.model_dump() == {"metric": "top2", "mode": mode}
    regression = {"source": "own_data:arrays", "task": "regression"}
    assert load({**SPEC, "data": regression, "objective": {"metric": "top2", "mode": mode}})


def test_it_goes_with_a_model_of_ones_own() -> None:
    model = {"model": "own_nets:Perceptron", "space": {"width": {"int": [4, 8]}}}
    search = load({**SPEC, **model, "data": {"source": "own_data:wide"}})
    assert search.train == {"model": "own_nets:Perceptron", "loss": "own_losses:focal"}
    config = train_config(search.train, {"width": 4})
    assert (config.loss, config.arguments) == ("own_losses:focal", (("width", 4),))


def test_a_spec_without_either_is_stored_as_ever() -> None:
    bare = {key: value for key, value in SPEC.items() if key not in ("loss", "metrics")}
    assert "metrics" not in codec.decode(codec.encode(load(bare)))
    assert "metrics" in codec.decode(codec.encode(load(SPEC)))


def test_constants_of_a_trainable_are_no_python_names() -> None:
    """Whatever they are called: a trainable has a config of its own."""
    train = {"trainable": "own_losses:nothing", "loss": "a:b", "model": "c:d"}
    search = load("digits").model_copy(update={"train": train, "tune": Tune()})
    assert search.python_names == ("own_losses:nothing",)


def problems(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as refused:
        load({**SPEC, **changes})
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "focal"}, "loss: must be MODULE:NAME, a function of (outputs, targets), or a"),
        ({"loss": 3}, "loss: must be MODULE:NAME"),
        ({"loss": "own_losses:THREE"}, "loss: must name a class or function, but own_losses:THREE"),
        ({"loss": "own_losses:three"}, "loss: must take (outputs, targets), but own_losses:three"),
        ({"loss": "own_losses:Needs"}, "loss: must be built without arguments, but own_losses:Ne"),
        ({"loss": "own_losses:gone"}, "loss: must name a class or function that Python can import"),
        (
            {"train": {"loss": "mse"}},
            "train.loss: is given at the top as well, as own_",
        ),
        (
            {"space": {**SPEC["space"], "loss": {"choice": ["hinge", "mse"]}}},
            "space.loss: is given at the top as well, as own_losses:focal; leave one of the two",
        ),
        (
            {"space": {"hinge_margin": {"uniform": [1, 2]}}},
            "space.hinge_margin: is read only where loss is hinge",
        ),
        ({"metrics": ["own_losses:top2"]}, "metrics: must be a mapping"),
        ({"metrics": {"top-2": "own_losses:top2"}}, "metrics: must have names, each a name of"),
        ({"metrics": {2: "own_losses:top2"}}, "metrics: must have names, each a name of"),
        (
            {"metrics": {"val_loss": "own_losses:top2"}},
            "metrics.val_loss: is the name of a column of ours; give it another",
        ),
        ({"metrics": {"epoch": "own_losses:top2"}}, "metrics.epoch: is the name of a column"),
        ({"metrics": {"top2": "top2"}}, "metrics.top2: must be MODULE:NAME, a function of"),
        ({"metrics": {"x": "own_losses:three"}}, "metrics.x: must take (outputs, targets), but"),
        (
            {"objective": {"metric": "top2"}},
            "objective.mode: is required for a metric of your own: whether max or min of top2 is "
            "good",
        ),
        (
            {"objective": {"metric": "top2", "mode": "up"}},
            "objective.mode: must be one of max",
        ),
        (
            {"objective": {"metric": "topp2", "mode": "max"}},
            "objective.metric: must be one of val_accuracy, ",
        ),
    ],
)
def test_what_is_wrong_is_told_once(changes: dict[str, Any], said: str) -> None:
    (problem,) = problems(**changes)
    assert said in problem


def test_the_closest_metric_is_named() -> None:
    (problem,) = problems(objective={"metric": "topp2", "mode": "max"})
    assert problem.endswith("did you mean top2?")


def test_a_loss_of_ones_own_stands_at_the_top() -> None:
    (problem,) = problems(loss=None, train={"loss": "own_losses:focal"})
    assert "train.loss: must be one of cross_entropy, hinge, mse, huber" in problem
