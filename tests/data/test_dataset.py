from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.config.combination import DataShape
from workers.data import DataConfig, DataError, Dataset, Transform, load

ALL = ("standardize", "whiten")


def arrays() -> dict[str, Any]:
    """Images [40, 2, 3] and targets that a line does not explain."""
    draw = np.random.default_rng(0)
    return {"x": draw.normal(size=(40, 2, 3)), "y": draw.normal(3, 5, 40).round(2)}


@pytest.fixture
def path(tmp_path: Path) -> str:
    np.savez(tmp_path / "data.npz", **arrays())
    return str(tmp_path / "data.npz")


def regression(path: str, **fields: Any) -> Dataset:
    return load(DataConfig(source="npz", path=path, task="regression", **fields), 0)


def test_statistics_are_those_of_the_training_part_only() -> None:
    made = load(DataConfig(source="digits", preprocess=("standardize",)), 3)
    rows = made.x_train.reshape(len(made.x_train), -1) / 16
    (transform,) = made.transforms
    np.testing.assert_allclose(transform.shift, rows.mean(axis=0), rtol=1e-6)
    everything = np.concatenate([made.x_train, made.x_validation]).reshape(-1, 64) / 16
    assert np.abs(transform.shift - everything.mean(axis=0)).max() > 1e-4


@pytest.mark.parametrize("folds", [None, 4])
def test_no_statistic_changes_with_the_rows_that_are_held_out(
    tmp_path: Path, path: str, folds: int | None
) -> None:
    before = regression(path, folds=folds, preprocess=ALL)
    changed = arrays()
    held_out = _held_out(before, changed["x"])
    changed["x"][held_out] *= 100
    changed["y"][held_out] += 1000
    np.savez(tmp_path / "data.npz", **changed)
    after = regression(path, folds=folds, preprocess=ALL)
    for one, other in zip(before.transforms[0].arrays(), after.transforms[0].arrays(), strict=True):
        assert one.tobytes() == other.tobytes()
    assert before.target_mean[0] == after.target_mean[0]
    assert before.target_scale[0] == after.target_scale[0]
    for fold in range(1, after.num_folds):  # the others trained on what was changed
        assert not np.allclose(before.transforms[fold].shift, after.transforms[fold].shift)
        assert before.target_mean[fold] != after.target_mean[fold]


def _held_out(made: Dataset, x: np.ndarray) -> np.ndarray:
    """The rows of the source that the first fold does not train on."""
    if made.fold_rows is not None:
        return made.fold_rows[0]
    rows = x.astype(np.float32)
    return np.array(
        [np.flatnonzero((rows == one).all(axis=(1, 2)))[0] for one in made.x_validation]
    )


def test_each_fold_has_the_statistics_of_the_other_rows(path: str) -> None:
    made = regression(path, folds=4, preprocess=("standardize",))
    assert made.fold_rows is not None
    assert len(made.transforms) == made.num_folds == 4
    for fold, held_out in enumerate(made.fold_rows):
        x, y = np.delete(made.x_train, held_out, axis=0), np.delete(made.y_train, held_out)
        seen = made.inputs(x, fold)
        np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(seen.std(axis=0), 1, rtol=1e-5)
        assert made.target_mean[fold] == pytest.approx(y.mean(dtype=np.float64), rel=1e-12)
        assert made.target_scale[fold] == pytest.approx(y.std(dtype=np.float64), rel=1e-12)


def test_inputs_are_shifted_scaled_and_projected_in_this_order() -> None:
    x = np.array([[4, 8]], dtype=np.uint8)
    transform = Transform(
        shift=np.float32([1, 1]),
        scale=np.float32([10, 100]),
        projection=np.float32([[1, 2], [0, 1]]),
    )
    y = np.zeros(1, np.int64)
    made = Dataset(
        x_train=x,
        y_train=y,
        x_validation=x,
        y_validation=y,
        class_names=("a",),
        unit=0.5,
        transforms=(Transform(), transform),
    )
    assert made.inputs(x).tolist() == [[2, 4]]
    assert made.inputs(x, fold=1).tolist() == [[10, 10 * 2 + 300]]
    assert made.inputs(x, fold=1).dtype == np.float32


def test_digits_are_images_of_bytes_and_their_inputs_reach_from_0_to_1() -> None:
    made = load(DataConfig(source="digits", validation=360), 0)
    assert made.x_train.dtype == np.uint8
    assert made.x_train.shape == (1437, 8, 8)
    assert made.feature_shape == (8, 8)
    assert made.image == (1, 8, 8)
    assert len(made.y_validation) == 360
    inputs = made.inputs(made.x_train)
    assert inputs.shape == (1437, 64)
    assert (inputs.min(), inputs.max()) == (0, 1)


def test_the_shape_of_classes_and_of_a_regression_and_of_folds(path: str) -> None:
    digits = load(DataConfig(source="digits", validation=360), 0)
    assert digits.shape() == DataShape(
        num_features=64,
        image=(1, 8, 8),
        num_outputs=10,
        is_regression=False,
        num_train=1437,
        feature_shape=(8, 8),
    )
    assert (digits.num_folds, digits.target_mean, digits.target_scale) == (1, [0], [1])
    made = regression(path, folds=3)
    assert made.shape() == DataShape(
        num_features=6,
        image=(1, 2, 3),
        num_outputs=1,
        is_regression=True,
        num_train=27,
        feature_shape=(2, 3),
    )
    assert made.x_train.shape == (40, 2, 3)  # all rows, one of them in no fold
    assert made.x_validation.shape == (0, 2, 3)
    assert (made.y_train.dtype, made.class_names) == (np.float32, ())


@pytest.mark.parametrize("preprocess", ["pca", "whiten"])
def test_examples_are_no_images_behind_a_projection(preprocess: str) -> None:
    made = load(DataConfig(source="digits", preprocess=(preprocess,)), 0)
    assert made.image is None
    assert made.shape().image is None


def test_a_constant_target_is_refused_though_another_fold_would_see_it_change(
    tmp_path: Path,
) -> None:
    y = np.zeros(20)
    y[3] = 1.0  # the fold that holds row 3 out trains on zeros alone
    np.savez(tmp_path / "data.npz", x=np.zeros((20, 2)), y=y)
    with pytest.raises(DataError, match="all 10 training rows have 0;"):
        regression(str(tmp_path / "data.npz"), folds=2)


def test_nbytes_counts_every_array() -> None:
    made = load(DataConfig(source="digits", preprocess=("standardize",)), 0)
    assert made.nbytes == 1797 * (64 + 8) + 2 * 64 * 4
    folds = load(DataConfig(source="digits", folds=5, preprocess=("pca",)), 0)
    assert folds.nbytes == 1797 * (64 + 8) + 5 * (64 + 64 * 64) * 4 + 5 * 359 * 8


def test_the_same_seed_loads_the_same_dataset() -> None:
    config = DataConfig(source="digits", limit=300, folds=3, preprocess=("standardize",))
    one, other, third = load(config, 5), load(config, 5), load(config, 6)
    assert one.fingerprint() == other.fingerprint() != third.fingerprint()
    assert one.transforms[2].shift.tobytes() == other.transforms[2].shift.tobytes()


def test_the_seed_deals_the_folds() -> None:
    one, other = (load(DataConfig(source="digits", folds=3), seed).fold_rows for seed in (5, 6))
    assert one is not None
    assert other is not None
    assert one.tolist() != other.tolist()


@pytest.mark.parametrize(
    "change",
    [
        "x_train",
        "y_train",
        "x_validation",
        "y_validation",
        "fold_rows",
        "class_names",
    ],
)
def test_the_fingerprint_changes_with_all_that_changes_training(path: str, change: str) -> None:
    made = regression(path, preprocess=("zero_center",))
    made = replace(made, fold_rows=np.array([[0, 1], [2, 3]]))
    others: dict[str, Any] = {
        "class_names": ("a",),
        "fold_rows": np.array([[0, 2], [1, 3]]),
    }
    if change not in others:
        others[change] = getattr(made, change).copy()
        others[change].flat[-1] += 1
    assert replace(made, **{change: others[change]}).fingerprint() != made.fingerprint()
    assert replace(made).fingerprint() == made.fingerprint()


def test_a_fingerprint_of_the_first_version_is_still_right() -> None:
    """Stored with every search: one that began before goes on only while this holds."""
    made = load(DataConfig(source="digits", preprocess=("zero_center",)), 0)
    assert made.fingerprint() == "045debf17721d0e8c154d4b455019d5f"


def test_the_fingerprint_leaves_out_what_a_machine_may_round_otherwise(path: str) -> None:
    made = regression(path, preprocess=("pca",))
    (transform,) = made.transforms
    assert transform.projection is not None
    rounded = replace(transform, projection=transform.projection * np.float32(1 + 1e-6))
    assert replace(made, transforms=(rounded,)).fingerprint() == made.fingerprint()
