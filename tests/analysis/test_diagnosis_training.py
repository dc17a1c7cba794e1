"""The rules on real trainings of digits: each on one made to show it, none on healthy ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diagnosis_cases import ALONE, DIGITS, kinds, trained

from hpsearch.analysis.diagnosis.finding import at_end
from hpsearch.analysis.diagnosis.rules import diagnose

SMOOTH: dict[str, Any] = {"batch_size": 16, "hidden_units": (20,), "weight_decay": 1e-2}
FEW: dict[str, Any] = {"batch_size": 16, "hidden_units": (5,)}
DEEP = (50,) * 5

SICK: dict[str, tuple[str, dict[str, Any]]] = {
    "rate 1e3": ("rate_too_high", {"epochs": 3, "learning_rate": 1e3}),
    "rate 0.3 for few units": ("rate_too_high", {"epochs": 16, "learning_rate": 0.3, **FEW}),
    "adam's rate 0.3": ("rate_too_high", {"epochs": 12, "optimizer": "adam", "learning_rate": 0.3}),
    "rate 1e-5": ("rate_too_low", {"epochs": 6, "learning_rate": 1e-5}),
    "rate 1e-3 that a schedule takes": (
        "rate_too_low",
        {
            **{"epochs": 12, "limit": 600, "optimizer": "sgd", "learning_rate": 1e-3},
            **{"lr_schedule": "cosine"},
        },
    ),
    "constant rate": ("plateau", {"epochs": 14, "learning_rate": 0.1, **SMOOTH}),
    "80 examples": ("overfitting", {"epochs": 40, "limit": 100, "batch_size": 16}),
    "240 examples for long": (
        "stop_early",
        {
            **{"epochs": 90, "limit": 300, "hidden_units": (20,)},
            **{"optimizer": "adam", "learning_rate": 0.05},
        },
    ),
    "one hidden unit": ("underfitting", {"epochs": 20, "hidden_units": (1,)}),
    "biases of -10": ("dead_units", {"epochs": 4, "bias_init": -10.0}),
    "normal(10) with tanh": (
        "saturated_units",
        {"epochs": 4, "activation": "tanh", "initialization": "normal", "init_scale": 10.0},
    ),
    "ten sigmoid layers": (
        "vanishing_gradients",
        {"epochs": 4, "activation": "sigmoid", "hidden_units": (32,) * 10},
    ),
    "normal(1) in five layers": (
        "exploding_gradients",
        {
            **{"epochs": 3, "hidden_units": DEEP, "initialization": "normal"},
            **{"init_scale": 1.0, "learning_rate": 1e-4},
        },
    ),
    "normal(1) that diverges at once": (
        "exploding_gradients",
        {"epochs": 3, "hidden_units": DEEP, "initialization": "normal", "init_scale": 1.0},
    ),
    "zeros": ("initialization", {"epochs": 4, "initialization": "zeros"}),
    "zeros with tanh": (
        "initialization",
        {"epochs": 4, "initialization": "zeros", "activation": "tanh"},
    ),
}
HEALTHY: dict[str, dict[str, Any]] = {
    "momentum": {"epochs": 15},
    "one epoch": {"epochs": 1},
    "a coarse stage": {"epochs": 5},
    "adam": {"epochs": 12, "optimizer": "adam", "learning_rate": 1e-3},
    "a coarse stage of adam": {"epochs": 5, "optimizer": "adam", "learning_rate": 1e-3},
    "tanh": {"epochs": 12, "activation": "tanh", "initialization": "xavier_normal"},
    "sigmoid": {"epochs": 12, "activation": "sigmoid", "learning_rate": 0.3},
    "batch normalization": {"epochs": 10, "normalization": "batch"},
    "three layers": {"epochs": 10, "hidden_units": (64,) * 3},
    "dropout": {"epochs": 10, "dropout": 0.5},
    "mixup": {"epochs": 15, "mixup": 0.4},
    "label smoothing": {"epochs": 12, "label_smoothing": 0.1},
    "cosine": {"epochs": 12, "lr_schedule": "cosine", "learning_rate": 0.1},
    "one cycle": {"epochs": 12, "lr_schedule": "one_cycle", "learning_rate": 0.1},
    "warm-up": {"epochs": 8, "warmup_epochs": 8.0, "learning_rate": 0.1},
    "hinge": {"epochs": 12, "loss": "hinge"},
    "logistic regression": {"epochs": 12, "model": "logistic_regression", "learning_rate": 0.1},
    "a small cnn": {"epochs": 4, "model": "cnn", "channels": (8,)},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As workers train: more threads than free cores wait for each other all the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("kind", "settings"), SICK.values(), ids=SICK)
def test_a_training_made_to_show_it_is_diagnosed(kind: str, settings: dict[str, Any]) -> None:
    assert kinds(trained(**settings)) == [kind]


MILLION: dict[str, dict[str, Any]] = {
    "clipped, which leaves dead units": {"optimizer": "sgd", "gradient_clip_norm": 1.0},
    "tanh, which it saturates": {"optimizer": "momentum", "activation": "tanh"},
    "sigmoid, which it saturates": {"optimizer": "sgd", "activation": "sigmoid"},
    "adam, whose gradients explode": {"optimizer": "adam"},
    "in layers": {"optimizer": "sgd", "gradient_clip_norm": 1.0, "hidden_units": (64,) * 3},
    "logistic regression": {"optimizer": "sgd", "model": "logistic_regression"},
}


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("settings", MILLION.values(), ids=MILLION)
def test_a_rate_of_a_million_is_too_high_after_any_number_of_epochs(
    settings: dict[str, Any], epochs: int
) -> None:
    assert kinds(trained(epochs, learning_rate=1e6, **settings)) == ["rate_too_high"]


@pytest.mark.parametrize("settings", HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_training_has_no_diagnosis(settings: dict[str, Any]) -> None:
    curve = trained(**settings)
    assert kinds(curve, DIGITS) == kinds(curve, ALONE) == []


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [
        *(("sgd", 0.3, decay) for decay in (0.3, 14.0, 8e4)),
        *(("momentum", 0.03, decay) for decay in (0.3, 14.0, 8e4)),
        *(("nesterov", 0.03, decay) for decay in (0.3, 14.0, 8e4)),
        *(("adam", 0.01, decay) for decay in (0.3, 14.0, 8e4)),
        *(("adamw", 0.01, decay) for decay in (100.0, 8e4)),
    ],
)
def test_a_decay_that_is_too_strong_is_told_from_a_bad_start_and_a_high_rate(
    optimizer: str, rate: float, decay: float
) -> None:
    settings = {"epochs": 5, "limit": 600, "optimizer": optimizer, "learning_rate": rate}
    assert kinds(trained(**settings, weight_decay=decay)) == ["decay_too_strong"]
    assert kinds(trained(**settings)) == []


@pytest.mark.parametrize(
    ("kind", "sick", "cure"),
    [
        ("rate_too_high", {"epochs": 16, "learning_rate": 0.3, **FEW}, {"learning_rate": 0.03}),
        ("rate_too_low", {"epochs": 6, "learning_rate": 1e-5}, {"learning_rate": 1e-2}),
        (
            "plateau",
            {"epochs": 14, "learning_rate": 0.1, **SMOOTH},
            {"lr_schedule": "exponential", "lr_decay": 0.7},
        ),
        ("underfitting", {"epochs": 20, "hidden_units": (1,)}, {"hidden_units": (64,)}),
        ("dead_units", {"epochs": 6, "bias_init": -10.0}, {"bias_init": 0.0}),
        (
            "vanishing_gradients",
            {"epochs": 6, "activation": "sigmoid", "hidden_units": (32,) * 10},
            {"activation": "relu", "normalization": "layer"},
        ),
        (
            "exploding_gradients",
            {"epochs": 5, "hidden_units": DEEP, "initialization": "normal", "init_scale": 1.0},
            {"initialization": "kaiming_normal"},
        ),
        (
            "initialization",
            {"epochs": 6, "initialization": "zeros"},
            {"initialization": "kaiming_normal"},
        ),
    ],
)
def test_what_a_diagnosis_advises_cures_it(
    kind: str, sick: dict[str, Any], cure: dict[str, Any]
) -> None:
    before, after = trained(**sick), trained(**{**sick, **cure})
    assert kinds(before) == [kind]
    assert kind not in kinds(after)
    worse = before.series["train_loss"]
    assert before.diverged or at_end(after.series["train_loss"]) < 0.97 * at_end(worse)


def test_larger_batches_cure_what_minibatches_do_to_rprop() -> None:
    settings = {"epochs": 40, "limit": 600, "optimizer": "rprop", "learning_rate": 1e-3}
    noisy, calm = trained(**settings, batch_size=16), trained(**settings, batch_size=480)
    (found,) = diagnose(noisy, DIGITS)
    assert "larger batches" in found.message
    assert "rate_too_high" not in kinds(calm)
    assert at_end(calm.series["train_loss"]) < 0.1 * at_end(noisy.series["train_loss"])


def test_stopping_at_the_epoch_that_is_advised_leaves_the_lower_validation_loss() -> None:
    curve = trained(**SICK["240 examples for long"][1])
    (found,) = diagnose(curve, DIGITS)
    losses = curve.series["val_loss"]
    assert losses[int(found.evidence["epoch"]) - 1] < 0.9 * losses[-1]
