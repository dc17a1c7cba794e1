from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workers.data import DataConfig, Dataset, load
from workers.data import preprocess as preprocess_module
from workers.data.preprocess import shift_and_scale

BOTH = ("zero_center", "standardize")


def dataset(x: np.ndarray, unit: float, preprocess: tuple[str, ...]) -> Dataset:
    shift, scale = shift_and_scale(x, unit, preprocess)
    y = np.zeros(len(x), dtype=np.int64)
    return Dataset(
        x_train=x,
        y_train=y,
        x_validation=x[:1],
        y_validation=y[:1],
        class_names=("a", "b"),
        unit=unit,
        shift=shift,
        scale=scale,
    )


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
    shift, scale = shift_and_scale(x, 1.0, ("standardize",))
    deviation = np.sqrt((n**2 - 1) / 12)
    np.testing.assert_allclose(shift, [(n - 1) / 2, 3 * (n - 1) / 2 + 5], rtol=1e-7)
    np.testing.assert_allclose(scale, [1 / deviation, 1 / (3 * deviation)], rtol=1e-7)


images = hnp.arrays(np.uint8, st.tuples(st.integers(2, 30), st.integers(1, 4), st.integers(1, 4)))
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
    shift, scale = shift_and_scale(x, unit, ("standardize",))
    assert shift is not None
    assert scale is not None
    rows = x.reshape(len(x), -1).astype(np.float64) * unit
    constant = rows.min(axis=0) == rows.max(axis=0)
    assert (scale[constant] == 1).all()
    wide = rows.std(axis=0) > 1e-3  # below, float32 cannot hold the mean well enough
    made = (rows - shift) * scale
    np.testing.assert_allclose(made[:, wide].mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(made[:, wide].std(axis=0), 1, rtol=1e-5)


@given(x=images)
def test_zero_center_subtracts_the_mean_and_keeps_the_scale(x: np.ndarray) -> None:
    made = dataset(x, 1 / 255, ("zero_center",))
    assert made.scale is None
    np.testing.assert_allclose(made.inputs(x).astype(np.float64).mean(axis=0), 0, atol=1e-6)


@given(x=images)
def test_both_given_is_standardize(x: np.ndarray) -> None:
    for one, other in zip(
        shift_and_scale(x, 0.5, BOTH), shift_and_scale(x, 0.5, ("standardize",)), strict=True
    ):
        assert one is not None
        assert other is not None
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("num_rows", [3, 7, 49, 1000])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e20])
def test_a_constant_that_no_binary_fraction_holds_gets_scale_1(num_rows: int, value: float) -> None:
    x = np.full((num_rows, 1), value, dtype=np.float32)
    shift, scale = shift_and_scale(x, 1.0, ("standardize",))
    assert scale is not None
    assert shift is not None
    assert scale.tolist() == [1]
    assert shift[0] == x[0, 0]


def test_a_spread_whose_inverse_float32_cannot_hold_counts_as_none() -> None:
    x = np.array([[0], [1e-40]], dtype=np.float32)
    _, scale = shift_and_scale(x, 1.0, ("standardize",))
    assert scale is not None
    assert scale.tolist() == [1]


def test_a_large_offset_does_not_cancel_the_deviation() -> None:
    x = (1e6 + np.arange(8, dtype=np.float64) / 8).astype(np.float32)[:, None]
    _, scale = shift_and_scale(x, 1.0, ("standardize",))
    np.testing.assert_allclose(scale, 1 / x.astype(np.float64).std(axis=0), rtol=1e-6)


def test_chunks_do_not_change_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 256, (101, 6), dtype=np.uint8)
    whole = shift_and_scale(x, 1 / 255, BOTH)
    monkeypatch.setattr(preprocess_module, "CHUNK_BYTES", 6 * 8 * 7)
    for one, other in zip(shift_and_scale(x, 1 / 255, BOTH), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)


def test_statistics_are_those_of_the_training_part_only() -> None:
    made = load(DataConfig(source="digits", preprocess=("standardize",)), 3)
    rows = made.x_train.reshape(len(made.x_train), -1) / 16
    np.testing.assert_allclose(made.shift, rows.mean(axis=0), rtol=1e-6)
    everything = np.concatenate([made.x_train, made.x_validation]).reshape(-1, 64) / 16
    assert np.abs(made.shift - everything.mean(axis=0)).max() > 1e-4


def test_digits_are_bytes_and_their_inputs_reach_from_0_to_1() -> None:
    made = load(DataConfig(source="digits", validation=360), 0)
    assert made.x_train.dtype == np.uint8
    assert made.x_train.shape == (1437, 8, 8)
    assert made.feature_shape == (8, 8)
    assert len(made.y_validation) == 360
    assert made.num_classes == 10
    inputs = made.inputs(made.x_train)
    assert inputs.shape == (1437, 64)
    assert (inputs.min(), inputs.max()) == (0, 1)


def test_nbytes_counts_every_array() -> None:
    made = load(DataConfig(source="digits", preprocess=("standardize",)), 0)
    assert made.nbytes == 1797 * (64 + 8) + 2 * 64 * 4


def test_the_same_seed_loads_the_same_dataset() -> None:
    config = DataConfig(source="digits", limit=300, preprocess=("standardize",))
    one, other, third = load(config, 5), load(config, 5), load(config, 6)
    assert one.x_train.tobytes() == other.x_train.tobytes()
    assert one.y_validation.tobytes() == other.y_validation.tobytes()
    assert one.x_train.tobytes() != third.x_train.tobytes()
