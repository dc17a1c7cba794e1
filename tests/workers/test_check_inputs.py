"""What a network is shown, checked: inputs and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from check_cases import look
from training_cases import blobs, device_data, images, line

from workers.data.dataset import Dataset
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
        (lambda x: np.where(np.arange(70)[:, None] == 3, np.nan, x), "fail", "1 of 110 examples"),
        (lambda x: x * 0, "fail", "constant"),
    ],
)
def test_inputs_are_finite_centred_and_on_one_scale(
    change: Callable[[np.ndarray], np.ndarray], verdict: str, sentence: str
) -> None:
    found = look("inputs", _with_inputs(change))
    assert found.verdict == verdict
    assert sentence in found.text


def _with_a_stray_pixel(data: Dataset, part: str) -> Dataset:
    """One pixel is dark but in one image of ``part``; each pixel is divided by its deviation."""
    x_train, x_validation = data.x_train.copy(), data.x_validation.copy()
    x_train[:, 0, 0, 0] = np.arange(len(x_train)) == 3  # in one of hundreds
    (x_validation if part == "validation" else x_train)[7, 0, 0, 0] = 100
    deviation = x_train.std(0)
    return replace(data, x_train=x_train / deviation, x_validation=x_validation / deviation)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_pixel_that_is_dark_in_most_images_may_not_reach_beyond_twenty_deviations(
    part: str,
) -> None:
    data = images(num_train=600)
    healthy = look("inputs", device_data(data))
    assert healthy.evidence["far_features"] == 0
    assert healthy.evidence["farthest"] < 6
    found = look("inputs", device_data(_with_a_stray_pixel(data, part)))
    assert (found.verdict, found.evidence["far_features"]) == ("warn", 1)
    assert found.evidence["farthest"] > (1000 if part == "validation" else 20)
    assert "1 nearly constant features" in found.text
    assert "channel_mean" in found.text


def test_images_whose_pixels_vary_unevenly_are_not_to_be_standardized() -> None:
    data = images(num_train=600)
    dim = np.where(np.arange(data.x_train[0].size) < 2, 100, 1).reshape(data.x_train[0].shape)
    found = look("inputs", device_data(replace(data, x_train=data.x_train * dim)))
    assert (found.verdict, found.evidence["scales"] > 10) == ("warn", True)
    assert "crop" in found.text
    assert "standardize" not in found.text


def test_an_outlier_of_a_table_is_told_and_a_validation_that_is_not_finite_fails() -> None:
    dataset = blobs(num_train=900)
    far = dataset.x_train.copy()
    far[5, 2] += 1000
    found = look("inputs", device_data(replace(dataset, x_train=far)))
    assert "outliers" in found.text
    assert "channel_mean" not in found.text
    held_out = dataset.x_validation.copy()
    held_out[1, 1] = np.inf
    found = look("inputs", device_data(replace(dataset, x_validation=held_out)))
    assert (found.verdict, found.evidence["not_finite"]) == ("fail", 1)


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
