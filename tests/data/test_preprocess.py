from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.decomposition import PCA

from workers.data import DataError, Dataset, Transform
from workers.data import preprocess as preprocess_module
from workers.data.preprocess import fit, fit_target

BOTH = ("zero_center", "standardize")


def dataset(x: np.ndarray, unit: float, preprocess: tuple[str, ...]) -> Dataset:
    y = np.zeros(len(x), dtype=np.int64)
    return Dataset(
        x_train=x,
        y_train=y,
        x_validation=x[:1],
        y_validation=y[:1],
        class_names=("a", "b"),
        unit=unit,
        transforms=(fit(x, unit, preprocess),),
    )


def inputs(x: np.ndarray, unit: float, *preprocess: str) -> np.ndarray:
    """What the model sees of the training rows themselves, in float64."""
    return dataset(x, unit, preprocess).inputs(x).astype(np.float64)


def same(one: Transform, other: Transform, rtol: float = 0.0) -> None:
    for a, b in zip(one.arrays(), other.arrays(), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def correlated(num_rows: int = 400, num_features: int = 12) -> np.ndarray:
    """Rows whose principal axes are clearly apart, so that no two could change places."""
    draw = np.random.default_rng(0)
    spread = 2.0 ** -np.arange(num_features)
    axes, _ = np.linalg.qr(draw.normal(size=(num_features, num_features)))
    rows = draw.normal(size=(num_rows, num_features)) * spread @ axes
    return (rows + draw.normal(size=num_features)).astype(np.float32)


def test_without_preprocessing_inputs_are_torchvisions_to_tensor() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    made = dataset(x, 1 / 255, ()).inputs(x)
    # torchvision.transforms.functional.to_tensor on bytes: img.to(float32).div(255)
    expected = torch.from_numpy(x).to(torch.float32).div(255).reshape(4, 64).numpy()
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, rtol=2e-7, atol=0)
    assert (made.min(), made.max()) == (0, 1)


def test_statistics_have_their_closed_form() -> None:
    # 0..n-1 has mean (n-1)/2 and variance (n^2-1)/12.
    n = 200
    x = np.stack([np.arange(n), 3 * np.arange(n) + 5], axis=1).astype(np.float32)
    made = fit(x, 1.0, ("standardize",))
    deviation = np.sqrt((n**2 - 1) / 12)
    np.testing.assert_allclose(made.shift, [(n - 1) / 2, 3 * (n - 1) / 2 + 5], rtol=1e-7)
    np.testing.assert_allclose(made.scale, [1 / deviation, 1 / (3 * deviation)], rtol=1e-7)


images = hnp.arrays(np.uint8, st.tuples(st.integers(2, 30), st.integers(1, 4), st.integers(1, 4)))
coloured = hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 4))
tables = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 30), st.integers(1, 5)),
    elements=st.floats(-1000, 1000, width=32),
)


@given(x=st.one_of(images, tables))
def test_standardized_training_rows_have_mean_0_and_deviation_1_or_are_constant(
    x: np.ndarray,
) -> None:
    unit = 1 / 255 if x.dtype == np.uint8 else 1.0
    made = fit(x, unit, ("standardize",))
    assert made.shift is not None
    assert made.scale is not None
    rows = x.reshape(len(x), -1).astype(np.float64) * unit
    constant = rows.min(axis=0) == rows.max(axis=0)
    assert (made.scale[constant] == 1).all()
    wide = rows.std(axis=0) > 1e-3  # below, float32 cannot hold the mean well enough
    seen = (rows - made.shift) * made.scale
    np.testing.assert_allclose(seen[:, wide].mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(seen[:, wide].std(axis=0), 1, rtol=1e-5)


@given(x=images)
def test_zero_center_subtracts_the_mean_and_keeps_the_scale(x: np.ndarray) -> None:
    assert fit(x, 1 / 255, ("zero_center",)).scale is None
    np.testing.assert_allclose(inputs(x, 1 / 255, "zero_center").mean(axis=0), 0, atol=1e-6)


@given(x=images)
def test_both_given_is_standardize_and_the_mean_image_is_zero_center(x: np.ndarray) -> None:
    same(fit(x, 0.5, BOTH), fit(x, 0.5, ("standardize",)))
    same(fit(x, 0.5, ("mean_image",)), fit(x, 0.5, ("zero_center",)))


@given(x=coloured)
def test_channel_mean_is_one_number_a_channel(x: np.ndarray) -> None:
    made = fit(x, 1 / 255, ("channel_mean",))
    expected = np.broadcast_to(
        (x / 255).mean(axis=(0, 2, 3))[:, None, None], x.shape[1:]
    )  # channels first
    assert made.shift is not None
    np.testing.assert_allclose(made.shift.reshape(x.shape[1:]), expected, rtol=1e-6)
    assert made.scale is made.projection is None


@given(x=images)
def test_an_image_without_channel_axis_has_one_channel(x: np.ndarray) -> None:
    same(fit(x, 0.5, ("channel_mean",)), fit(x[:, None], 0.5, ("channel_mean",)))


@pytest.mark.parametrize("name", ["mean_image", "channel_mean"])
def test_images_are_needed_for_what_only_images_have(name: str) -> None:
    with pytest.raises(DataError, match=f"'{name}' needs images") as caught:
        fit(np.zeros((3, 4), np.float32), 1.0, (name,))
    assert caught.value.key == "preprocess"


@pytest.mark.parametrize("num_rows", [3, 7, 49, 1000])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e20])
def test_a_constant_that_no_binary_fraction_holds_gets_scale_1(num_rows: int, value: float) -> None:
    x = np.full((num_rows, 1), value, dtype=np.float32)
    made = fit(x, 1.0, ("standardize",))
    assert made.scale is not None
    assert made.shift is not None
    assert made.scale.tolist() == [1]
    assert made.shift[0] == x[0, 0]


def test_a_spread_whose_inverse_float32_cannot_hold_counts_as_none() -> None:
    made = fit(np.array([[0], [1e-40]], dtype=np.float32), 1.0, ("standardize",))
    assert made.scale is not None
    assert made.scale.tolist() == [1]


def test_a_large_offset_does_not_cancel_the_deviation() -> None:
    x = (1e6 + np.arange(8, dtype=np.float64) / 8).astype(np.float32)[:, None]
    made = fit(x, 1.0, ("standardize",))
    np.testing.assert_allclose(made.scale, 1 / x.astype(np.float64).std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("preprocess", [BOTH, ("pca",), ("standardize", "whiten")])
def test_chunks_do_not_change_the_statistics(
    monkeypatch: pytest.MonkeyPatch, preprocess: tuple[str, ...]
) -> None:
    x = correlated(101, 6)
    whole = fit(x, 1 / 255, preprocess)
    monkeypatch.setattr(preprocess_module, "CHUNK_BYTES", 6 * 8 * 7)
    same(fit(x, 1 / 255, preprocess), whole, rtol=1e-6)


def up_to_sign(made: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return made * np.sign((made * expected).sum(axis=0))


def test_pca_is_scikit_learns_up_to_sign() -> None:
    x = correlated()
    expected = PCA().fit_transform(x.astype(np.float64))
    made = inputs(x, 1.0, "pca")
    np.testing.assert_allclose(up_to_sign(made, expected), expected, atol=1e-5)


def test_whitening_is_scikit_learns_up_to_sign_the_size_of_n_and_the_least_variance() -> None:
    x = correlated()
    oracle = PCA(whiten=True)
    expected = oracle.fit_transform(x.astype(np.float64))
    variances = oracle.explained_variance_ * (len(x) - 1) / len(x)  # theirs is over N - 1
    expected *= np.sqrt(oracle.explained_variance_ / (variances + 1e-5 * variances[0]))
    made = inputs(x, 1.0, "whiten")
    np.testing.assert_allclose(up_to_sign(made, expected), expected, atol=2e-3)


def test_pca_after_standardizing_rotates_what_was_standardized() -> None:
    x = correlated() * np.float32([1, 1000] * 6)
    standardized = inputs(x, 1.0, "standardize")
    expected = PCA().fit_transform(standardized)
    made = inputs(x, 1.0, "standardize", "pca")
    np.testing.assert_allclose(up_to_sign(made, expected), expected, atol=1e-4)


def test_pca_decorrelates_keeps_distances_and_orders_by_variance() -> None:
    x = correlated()
    made, centred = inputs(x, 1.0, "pca"), inputs(x, 1.0, "zero_center")
    covariance = np.cov(made.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-5)
    assert (np.diff(np.diag(covariance)) < 0).all()
    np.testing.assert_allclose(made @ made.T, centred @ centred.T, atol=1e-4)


@pytest.mark.parametrize("preprocess", [("whiten",), ("standardize", "whiten")])
def test_whitened_training_rows_have_the_identity_for_covariance(
    preprocess: tuple[str, ...],
) -> None:
    x = correlated(num_features=5)  # variances within 256, so that 1e-5 of the largest is little
    covariance = np.cov(inputs(x, 1.0, *preprocess).T, bias=True)
    np.testing.assert_allclose(covariance, np.eye(5), atol=5e-3)


def test_a_components_largest_entry_is_positive() -> None:
    for x in (correlated(), -correlated()):
        projection = fit(x, 1.0, ("pca",)).projection
        assert projection is not None
        columns = range(projection.shape[1])
        assert (projection[np.abs(projection).argmax(axis=0), columns] > 0).all()


@pytest.mark.parametrize("x", [np.ones((5, 3), np.float32), np.zeros((1, 3), np.float32)])
def test_features_without_any_variance_are_whitened_to_zeros(x: np.ndarray) -> None:
    assert (inputs(x, 1.0, "whiten") == 0).all()


def test_fewer_rows_than_features_are_whitened_to_finite_numbers() -> None:
    x = np.random.default_rng(0).normal(size=(6, 20)).astype(np.float32)
    made = inputs(x, 1.0, "whiten")
    np.testing.assert_allclose(made.std(axis=0)[:5], 1, rtol=1e-3)
    np.testing.assert_allclose(made[:, 5:], 0, atol=1e-3)


def test_more_features_than_a_projection_may_have_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preprocess_module, "MOST_ROTATED", 11)
    with pytest.raises(DataError, match=r"at most 11 features, .* have 12; ") as caught:
        fit(correlated(), 1.0, ("pca",))
    assert caught.value.key == "preprocess"


def test_targets_of_a_regression_are_measured_in_float64() -> None:
    y = (1e6 + np.arange(8) / 8).astype(np.float32)
    mean, scale = fit_target(y, is_regression=True)
    assert mean == 1e6 + 7 / 16
    assert scale == pytest.approx(np.sqrt(63 / 12) / 8, rel=1e-12)
    assert fit_target(np.arange(3), is_regression=False) == (0, 1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e20])
def test_a_target_that_is_constant_is_refused(value: float) -> None:
    with pytest.raises(DataError, match=r"all 49 training rows have .*; ") as caught:
        fit_target(np.full(49, value, np.float32), is_regression=True)
    assert caught.value.key == "task"
