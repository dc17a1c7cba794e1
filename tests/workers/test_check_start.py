"""The start, checked: its loss, its signals, and twenty examples learned from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from check_cases import a_subject, look
from training_cases import blobs, device_data, folded, images, line

from workers.data import Dataset
from workers.training.checks.fit_twenty import twenty


def test_the_initial_loss_of_zeros_is_that_of_guessing() -> None:
    found = look("initial_loss", initialization="zeros")
    assert found.verdict == "pass"
    assert found.evidence["loss"] == pytest.approx(math.log(4))
    assert "(ln 4)" in found.text


@pytest.mark.parametrize(("scale", "verdict"), [(0.01, "pass"), (1.0, "warn"), (10.0, "fail")])
def test_a_large_initialization_shows_in_the_initial_loss(scale: float, verdict: str) -> None:
    found = look("initial_loss", initialization="normal", init_scale=scale)
    assert found.verdict == verdict


def test_regularization_has_no_part_in_the_initial_loss() -> None:
    plain = look("initial_loss")
    much = look("initial_loss", dropout=0.9, weight_decay=1e5, label_smoothing=0.9, mixup=1.0)
    assert plain.evidence == much.evidence


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "mse", "huber"])
def test_every_loss_starts_near_guessing(loss: str) -> None:
    dataset = line() if loss in ("mse", "huber") else blobs()
    assert look("initial_loss", device_data(dataset), loss=loss).verdict == "pass"


def test_of_a_loss_of_ones_own_the_first_value_is_told() -> None:
    found = look("initial_loss", loss="own_losses:negative", initialization="zeros")
    assert found.verdict == "pass"
    assert found.evidence == {"loss": pytest.approx(math.log(4) - 1000)}


def test_a_loss_that_asks_for_something_else_need_not_learn_by_heart() -> None:
    assert look("fit_twenty", loss="own_losses:focal").verdict == "pass"
    assert look("fit_twenty", loss="own_losses:grows").verdict == "warn"


# Signals


def test_ten_sigmoid_layers_lose_the_signal() -> None:
    found = look("signal", hidden_units=(20,) * 10, activation="sigmoid")
    assert found.verdict == "fail"
    assert found.evidence["forward"] < 1e-3
    assert found.evidence["backward"] < 1e-3
    assert "vanish" in found.text


@pytest.mark.parametrize(("scale", "word"), [(1.0, "explode"), (1e-3, "vanish")])
def test_a_wrong_scale_shows_in_ten_relu_layers(scale: float, word: str) -> None:
    fields = {"hidden_units": (50,) * 10, "initialization": "normal", "init_scale": scale}
    found = look("signal", **fields)
    assert found.verdict == "fail"
    assert f"activations {word}" in found.text
    assert f"gradients {word}" in found.text


def test_kaiming_keeps_the_signal_through_ten_relu_layers() -> None:
    assert look("signal", hidden_units=(100,) * 10).verdict == "pass"


def test_identity_layers_pass_on_what_their_weights_do() -> None:
    # A product of orthogonal square matrices changes no norm; the gradient's neither.
    fields = {"hidden_units": (12,) * 5, "activation": "identity", "initialization": "orthogonal"}
    found = look("signal", **fields)
    assert found.evidence["forward"] == pytest.approx(1, rel=1e-9)
    assert found.evidence["backward"] == pytest.approx(1, rel=1e-9)


def test_zeros_and_no_hidden_layers_are_told_apart() -> None:
    zeros = look("signal", initialization="zeros")
    assert zeros.verdict == "fail"
    assert "activations are 0 in layer 1" in zeros.text
    assert look("signal", model="logistic_regression").verdict == "skip"


# Twenty examples


@pytest.mark.parametrize("dataset", [blobs, images, line, folded])
def test_twenty_examples_are_learned_by_heart(dataset: Callable[[], Dataset]) -> None:
    found = look("fit_twenty", device_data(dataset()), dropout=0.5, weight_decay=1.0)
    assert found.verdict == "pass"
    assert max(found.evidence["updates"]) > 0
    assert found.evidence["examples"] == 20


def test_a_dead_start_learns_nothing_by_heart() -> None:
    found = look("fit_twenty", hidden_units=(9, 9, 9), initialization="zeros")
    assert found.verdict == "fail"
    assert found.evidence["updates"] == [0] * 16
    assert "cannot be learned by heart" in found.text


def test_a_network_without_capacity_learns_nothing_by_heart() -> None:
    found = look("fit_twenty", device_data(blobs(num_features=1)))
    assert found.verdict == "fail"
    assert 0.5 <= max(found.evidence["best"]) < 1.0
    assert f"the best accuracy is {max(found.evidence['best']):.3g}" in found.text


def test_the_twenty_are_of_as_many_classes_as_can_be() -> None:
    subject = a_subject(device_data(folded()))
    targets_kN = subject.data.targets_on_host_kN
    places_kN = twenty(targets_kN, subject)
    assert places_kN.shape == (3, 20)
    for targets_N, places_N in zip(targets_kN, places_kN, strict=True):
        assert targets_N[places_N].bincount().tolist() == [5, 5, 5, 5]
        assert len(places_N.unique()) == 20
