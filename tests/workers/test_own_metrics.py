"""Metrics of a user's own, of each network over the validation part alone."""

from __future__ import annotations

import re
from dataclasses import replace

import own_losses
import pytest
import torch
from torch import nn
from training_cases import CPU, blobs, config, folded, group, line

from workers.config import TrainConfig
from workers.config.combination import ConfigError
from workers.messages import TrialGroup
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.loop import train
from workers.training.own_metrics import OwnMetrics

NAMES = ("top2", "of_numpy", "Accuracy", "accuracy")


def measured(*configs: TrainConfig, epochs: int = 2, **places: str) -> TrialGroup:
    """A group with these metrics, by the names of own_losses."""
    named = tuple((name, f"own_losses:{place}") for name, place in places.items())
    return group(*configs, epochs=epochs, own_metrics=named)


@pytest.mark.parametrize("width", [1, 2, None])
def test_metrics_are_those_of_each_network_alone(width: int | None) -> None:
    data, c = DeviceData(blobs(), CPU), config(hidden_units=(7,), learning_rate=0.1)
    given = measured(c, c, c, **{name: name for name in NAMES})
    training = GroupTraining(replace(given, width=width), data)
    training.train_epoch(0)
    metrics = training.evaluate()
    x = torch.as_tensor(blobs().x_validation, dtype=torch.float64)
    y = torch.as_tensor(blobs().y_validation)
    net = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 4)).double()
    for row in range(3):
        with torch.no_grad():
            weights = training.stack.weights.values()
            for ours, theirs in zip(weights, net.parameters(), strict=True):
                theirs.copy_(ours[row])
            outputs = net(x)
        assert metrics["top2"][row] == own_losses.top2(outputs, y)
        for name in NAMES[1:]:
            expected = (outputs.argmax(1) == y).double().mean().item()
            assert metrics[name][row].item() == pytest.approx(expected, rel=1e-6), name


def test_those_of_a_regression_are_in_the_units_of_the_data() -> None:
    """Targets near 100, which training has standardized."""
    data, c = DeviceData(line(), CPU), config(learning_rate=0.1)
    *_, last = train(measured(c, c, epochs=20, level="level", mae="absolute"), data)
    assert last.metrics["mae"] == pytest.approx(last.metrics["val_mae"], rel=1e-9)
    expected = [line().y_validation.mean()] * 2
    assert last.metrics["level"] == pytest.approx(expected, rel=1e-6)


def test_those_of_folds_are_means_and_may_be_the_objective() -> None:
    data, c = DeviceData(folded(), CPU), config(learning_rate=0.1)
    given = replace(measured(c, c, right="of_numpy"), metric="right", mode="max")
    *_, last = train(given, data)
    assert last.metrics["right"] == pytest.approx(last.metrics["val_accuracy"], rel=1e-6)
    for value, folds in zip(last.metrics["right"], last.metrics["by_fold"], strict=True):
        assert len(folds) == 3
        assert sum(folds) / 3 == pytest.approx(value)


def test_early_stopping_waits_on_a_metric_of_ones_own() -> None:
    data = DeviceData(blobs(), CPU)
    given = measured(config(patience=2), config(), epochs=6, one="always")
    reports = list(train(replace(given, metric="one", mode="max"), data))
    assert [report.stopped for report in reports] == [(), (), (0,), (), (), ()]


def test_what_a_metric_writes_into_is_its_own() -> None:
    data, c = DeviceData(blobs(), CPU), config()
    plain = list(train(measured(c, c, right="of_numpy"), data))
    spoiled = list(train(measured(c, c, bad="spoils", right="of_numpy"), data))
    for one, other in zip(plain, spoiled, strict=True):
        assert one.metrics["right"] == other.metrics["right"]
        assert one.metrics["val_loss"] == other.metrics["val_loss"]


def test_a_metric_that_raises_fails_its_trial_alone() -> None:
    """Here the one whose rate is too low to learn; the others go on as without it."""
    data = DeviceData(blobs(), CPU)
    configs = [config(learning_rate=rate) for rate in (0.3, 1e-6, 0.2)]
    first, second = train(measured(*configs, known="fails_below"), data)
    said = "metric known (own_losses:fails_below) must take outputs [40, 4] and targets [40]"
    assert [(refusal.trial, refusal.message) for refusal in first.refused] == [
        (1, f"epoch 1: {said}, but that raises ArithmeticError: it knows nothing")
    ]
    assert first.trials == second.trials == (0, 2)
    assert first.metrics["known"] == [1.0, 1.0]
    without = list(train(group(*configs, epochs=2), data))
    expected = [without[1].metrics["val_loss"][row] for row in (0, 2)]
    assert second.metrics["val_loss"] == pytest.approx(expected, rel=1e-9)


def test_so_does_one_that_fails_in_a_fold() -> None:
    data = DeviceData(folded(), CPU)
    configs = [config(learning_rate=1e-6), config(learning_rate=0.3)]
    (first, *_) = train(measured(*configs, known="fails_below"), data)
    assert [refusal.trial for refusal in first.refused] == [0]
    assert first.trials == (1,)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("a_pair", "must give a number, but gives tuple"),
        ("a_word", "must give a number, but gives str"),
        ("a_list", r"must give a number, but gives \[40, 4\]"),
        ("raises", "but that raises ValueError: not on a Saturday$"),
    ],
)
def test_what_is_no_number_is_told(place: str, said: str) -> None:
    (report,) = train(measured(config(), x=place), DeviceData(blobs(), CPU))
    (refusal,) = report.refused
    assert refusal.message.startswith(f"epoch 1: metric x (own_losses:{place}) must ")
    assert re.search(said, refusal.message)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("three", "must take (outputs, targets), but own_losses:three takes (outputs: "),
        ("nothing", "must give a function, or an object with reset, update, compute, but own_"),
        ("Needs", "must be built without arguments, but own_losses:Needs needs gamma; name a"),
        ("gone", "must name a class or function that Python can import, but own_losses:gone"),
    ],
)
def test_what_is_no_metric_is_refused_in_a_sentence(place: str, said: str) -> None:
    (report,) = train(measured(config(), config(), x=place), DeviceData(blobs(), CPU))
    assert [refusal.trial for refusal in report.refused] == [0, 1]
    assert all(refusal.message.startswith(f"metrics.x {said}") for refusal in report.refused)


def test_metrics_of_torchmetrics_are_taken_as_they_are() -> None:
    pytest.importorskip("torchmetrics")
    named = (("error", "torchmetrics:MeanAbsoluteError"),)
    *_, last = train(group(config(), own_metrics=named), DeviceData(line(), CPU))
    assert last.metrics["error"] == pytest.approx(last.metrics["val_mae"], rel=1e-6)


def test_what_cannot_be_had_is_an_error_of_its_name() -> None:
    with pytest.raises(ConfigError) as refused:
        OwnMetrics({"x": "own_losses:gone"}, DeviceData(blobs(), CPU))
    assert refused.value.key == "metrics.x"
