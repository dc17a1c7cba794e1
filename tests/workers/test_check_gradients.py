"""Gradients, checked against finite differences: right ones agree, a wrong one is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from check_cases import look
from training_cases import blobs, device_data, images, line

from workers.config.model import ACTIVATIONS, NORMALIZATIONS
from workers.training.models import activations


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("model", ["mlp", "cnn", "logistic_regression"])
def test_gradients_agree_for_every_model_and_normalization(model: str, normalization: str) -> None:
    if normalization == "instance" and model != "cnn":
        pytest.skip("instance normalization is for images")
    fields = {"hidden_units": (6,), "channels": (4,), "dropout": 0.5, "mixup": 0.4}
    data = device_data(images())
    found = look("gradients", data, model=model, normalization=normalization, **fields)
    assert found.verdict == "pass", found.text
    assert found.evidence["worst"] < 1e-5
    assert found.evidence["checked"] > 20


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "step"])
def test_gradients_agree_for_every_activation(activation: str) -> None:
    assert look("gradients", activation=activation).verdict == "pass"


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "mse", "huber"])
def test_gradients_agree_for_every_loss(loss: str) -> None:
    dataset = line() if loss in ("mse", "huber") else blobs()
    fields = {"label_smoothing": 0.2, "class_weights": "balanced"}
    assert look("gradients", device_data(dataset), loss=loss, **fields).verdict == "pass"


def test_kinks_at_the_zeros_of_the_inputs_are_no_wrong_gradients() -> None:
    # Biases start at 0, so that a convolution of an empty border lies on relu's kink everywhere.
    dataset = images()
    bordered = dataset.x_train.copy()
    bordered[..., :3], bordered[..., -3:] = 0.0, 0.0
    data = device_data(replace(dataset, x_train=bordered))
    found = look("gradients", data, model="cnn", channels=(8,), hidden_units=(6,))
    assert found.verdict == "pass", found.text


def test_steps_across_kinks_are_no_wrong_gradients() -> None:
    # A bias moves all pixels of its channel, of which some cross relu's kink with the larger step.
    data = device_data(images(side=32, channels=1))
    found = look("gradients", data, model="cnn", channels=(16, 16))
    assert (found.verdict, found.evidence["outliers"]) == ("pass", 0)


class _WrongTanh(torch.autograd.Function):
    """tanh with a slope that is a tenth too large."""

    @staticmethod
    def forward(ctx: Any, h: torch.Tensor) -> torch.Tensor:
        y = h.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return 1.1 * gradient * (1 - y.square())


def test_a_wrong_backward_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = activations.Activation(apply=lambda h, _: _WrongTanh.apply(h))
    monkeypatch.setitem(activations.ACTIVATIONS, "tanh", wrong)
    found = look("gradients", activation="tanh")
    assert found.verdict == "fail"
    assert found.evidence["worst"] == pytest.approx(0.1 / 1.1, rel=1e-3)
    assert "in 0." in found.text


def test_a_step_is_said_not_to_be_checkable() -> None:
    assert look("gradients", activation="step").verdict == "skip"
