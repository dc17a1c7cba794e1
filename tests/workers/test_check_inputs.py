"""What a network is shown, checked: inputs and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from check_cases import look
from training_cases import blobs, device_data, line

from workers.training.feed import DeviceData


def _with_inputs(change: Callable[[np.ndarray], np.ndarray]) -> DeviceData:
    dataset = blobs()
    return device_data(replace(dataset, x_train=change(dataset.x_train).astype(np.float32)))


@pytest.mark.parametrize(
    ("change", "verdict", "sentence"),
    [
        (lambda x: x, "pass", "finite"),
        (lambda x: x + 3, "warn", "zero_center"),
        (lambda x: x + 1000, "fail", "zero_center"),
        (lambda x: x * np.r_[30, np.ones(11)], "warn", "standardize"),
        (lambda x: x * np.r_[1e5, np.ones(11)], "fail", "standardize"),
        (lambda x: np.where(np.arange(70)[:, None] == 3, np.nan, x), "fail", "1 of 70 examples"),
        (lambda x: x * 0, "fail", "constant"),
    ],
)
def test_inputs_are_finite_centred_and_on_one_scale(
    change: Callable[[np.ndarray], np.ndarray], verdict: str, sentence: str
) -> None:
    found = look("inputs", _with_inputs(change))
    assert found.verdict == verdict
    assert sentence in found.text


def test_unbalanced_classes_are_told_with_their_shares() -> None:
    dataset = blobs()
    few = np.r_[np.flatnonzero(dataset.y_train == 0), np.flatnonzero(dataset.y_train == 1)[:4]]
    unbalanced = replace(dataset, x_train=dataset.x_train[few], y_train=dataset.y_train[few])
    found = look("targets", device_data(replace(unbalanced, class_names=("0", "1"))))
    assert (found.verdict, found.evidence["counts"]) == ("warn", [18, 4])
    assert "4.5 times" in found.text
    found = look("targets", device_data(unbalanced))
    assert "2 classes have no training example" in found.text
    assert look("targets").verdict == "pass"


def test_a_target_far_from_the_others_is_told() -> None:
    dataset = line(num_train=400)
    wild = dataset.y_train.copy()
    wild[7] += 1e5
    found = look("targets", device_data(replace(dataset, y_train=wild)))
    assert found.verdict == "warn"
    assert "huber" in found.text
    assert look("targets", device_data(dataset)).verdict == "pass"
