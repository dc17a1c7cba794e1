"""Regularization, checked: how the loss rises by it, and whether updates follow it."""

from __future__ import annotations

import pytest
import torch
from check_cases import look
from training_cases import device_data, images

from workers.config.model import NORMALIZATIONS
from workers.training import update


def test_the_loss_rises_by_half_the_decay_times_the_squared_weights() -> None:
    fields = {"initialization": "constant", "init_scale": 0.5, "weight_decay": 0.1, "l1": 0.01}
    found = look("regularized_loss", **fields)
    num_weights = 12 * 9 + 9 * 4
    assert found.verdict == "pass"
    assert found.evidence["penalty"] == pytest.approx(num_weights * (0.1 / 2 * 0.25 + 0.01 * 0.5))


def test_a_penalty_that_adds_nothing_fails_and_one_that_outweighs_the_data_warns() -> None:
    assert look("regularized_loss", initialization="zeros", weight_decay=1.0).verdict == "fail"
    assert look("regularized_loss", weight_decay=1e3).verdict == "warn"
    assert look("regularized_loss", weight_decay=1e-18).verdict == "pass"


def test_without_a_penalty_there_is_nothing_to_check() -> None:
    assert look("regularized_loss").verdict == "skip"
    assert look("regularized_loss", optimizer="adamw", dropout=0.5).verdict == "skip"


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_decoupled_decay_is_no_part_of_the_loss_and_acts(optimizer: str) -> None:
    found = look("regularized_loss", optimizer=optimizer, weight_decay=0.1)
    assert (found.verdict, found.evidence["penalty"]) == ("pass", 0.0)
    assert f"{optimizer} decays weights beside the loss" in found.text
    with_l1 = look("regularized_loss", optimizer=optimizer, weight_decay=0.1, l1=0.01)
    assert "rises" in with_l1.text
    assert "weight_decay 0," in with_l1.text


EVERY_PENALTY: list[dict[str, object]] = [
    *({"normalization": name, "weight_decay": 0.1, "l1": 0.01} for name in NORMALIZATIONS),
    {"weight_decay": 1e-12},
    {"weight_decay": 1e5},
    {"l1": 1e-9, "optimizer": "adam"},
    {"weight_decay": 1e-6, "optimizer": "adamw", "l1": 10.0},
    {"weight_decay": 0.1, "decay_biases": True, "bias_init": 0.5, "activation": "prelu"},
    {"weight_decay": 0.1, "frozen_layers": 1, "lr_multipliers": (1.0, 1.0, 0.5, 0.1)},
    {"weight_decay": 0.1, "max_norm": 1e-3, "gradient_noise": 1.0, "gradient_clip_norm": 1e-3},
    {"weight_decay": 0.1, "precision": "float32", "dropout": 0.5, "ema_decay": 0.9},
]


@pytest.mark.parametrize("fields", EVERY_PENALTY, ids=str)
def test_an_update_follows_the_slope_of_every_penalty(fields: dict[str, object]) -> None:
    network = {"model": "cnn", "channels": (4, 4), "hidden_units": (6,)}
    found = look("regularized_loss", device_data(images()), **network, **fields)
    assert found.verdict in ("pass", "warn"), found.text
    assert found.evidence["missed"] < 1e-9


def _nothing(columns: object, included: object) -> tuple[None, None, None]:
    return None, None, None


def _biases_too(columns: update.Columns, included: list[bool]) -> tuple[torch.Tensor | None, ...]:
    return REAL(columns, [True] * len(included))


REAL = update._amounts
DECOUPLED = {"optimizer": "adamw", "weight_decay": 0.1}


@pytest.mark.parametrize("fields", [{"weight_decay": 0.1}, {"l1": 0.1}, DECOUPLED], ids=str)
def test_a_penalty_that_no_update_follows_is_found(
    fields: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_amounts", _nothing)
    found = look("regularized_loss", **fields)
    assert found.verdict == "fail"
    assert "does not act" in found.text
    assert found.evidence["missed"] == pytest.approx(1.0)


@pytest.mark.parametrize("fields", [{"weight_decay": 0.1}, DECOUPLED], ids=str)
def test_a_decay_of_biases_that_nobody_asked_for_is_found(
    fields: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_amounts", _biases_too)
    found = look("regularized_loss", bias_init=0.5, **fields)
    assert found.verdict == "fail"
    assert 0.01 < found.evidence["missed"] < 1.0
