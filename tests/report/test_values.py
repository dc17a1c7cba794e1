"""The axis of the objective, the places on it, and what images are made of."""

from __future__ import annotations

import io
import math
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.image import imread  # a reader of PNG that is not ours

from hpsearch.report.axes import envelope, num_buckets
from hpsearch.report.network import enlarged, first_layer, mosaic, most_confused, png
from hpsearch.report.panel import numbers
from hpsearch.report.values import FAR, beyond, padded, spread, value_axis, within

FINITE = st.floats(-1e3, 1e3, allow_nan=False)
ANY = FINITE | st.floats(-1e300, 1e300) | st.floats(0.0, 1e300)


def test_a_metric_without_outliers_has_all_of_its_values_on_the_axis() -> None:
    axis = value_axis("val_accuracy", [0.5, 0.6, 0.7], is_max=True)
    assert (axis.limits, axis.is_log) == (None, False)


def test_an_axis_ends_five_times_the_median_s_distance_from_the_best() -> None:
    values = [0.99, 0.98, 0.97, 0.98, 0.97, 0.1]  # the median is 0.975
    limits = value_axis("val_accuracy", values, is_max=True).limits
    assert limits is not None
    assert limits[0] == pytest.approx(0.99 - FAR * 0.015)
    assert limits[1] > 0.99
    mirrored = value_axis("val_mae", [-v for v in values], is_max=False).limits
    assert mirrored == pytest.approx((-limits[1], -limits[0]))


def test_a_loss_over_decades_has_a_log_axis_and_outliers_on_its_edge() -> None:
    values = [0.1, 0.2, 0.2, 0.3, 1e12]
    axis = value_axis("val_loss", values, is_max=False)
    assert axis.is_log
    assert axis.limits is not None
    assert axis.limits[1] == pytest.approx(0.1 * 2**FAR)  # log10: five times the way to the median
    at_edge = within(axis, values)
    assert at_edge[:-1] == values[:-1]
    assert (
        0.97
        < math.log10(at_edge[-1] / axis.limits[0]) / math.log10(axis.limits[1] / axis.limits[0])
        < 1
    )
    assert beyond(axis, values) == 1


@given(st.lists(ANY, min_size=1, max_size=50), st.booleans())
@example(values=[1.0, 2.2250738585e-313], is_max=False)
def test_the_best_and_the_median_are_always_on_the_axis(values: list[float], is_max: bool) -> None:
    limits = value_axis("metric", values, is_max=is_max).limits
    if limits is not None:
        best = max(values) if is_max else min(values)
        assert limits[0] <= best <= limits[1]
        assert limits[0] <= float(np.median(values)) <= limits[1]


def test_an_axis_of_no_values_or_only_nan_has_no_limits() -> None:
    assert value_axis("metric", [], is_max=True).limits is None
    assert value_axis("metric", [math.nan, math.inf], is_max=True).limits is None


@given(st.lists(st.tuples(st.floats(1e-6, 1.0), FINITE), min_size=1, max_size=60), st.booleans())
def test_the_envelope_has_the_best_of_each_bucket(
    trials: list[tuple[float, float]], is_max: bool
) -> None:
    x, values = [t[0] for t in trials], [t[1] for t in trials]
    found = envelope(x, values, is_log=True, is_max=is_max)
    low, high = math.log10(min(x)), math.log10(max(x))
    buckets: dict[int, float] = {}
    num = num_buckets(len(trials))
    better = max if is_max else min
    for at, value in trials:
        place = (np.log10(at) - low) / ((high - low) or 1.0) * num
        bucket = min(int(place), num - 1)
        buckets[bucket] = better(buckets.get(bucket, value), value)
    assert [value for _, value in found] == [buckets[b] for b in sorted(buckets)]
    assert set(found) <= set(trials)


def test_numbers_that_are_none_become_none() -> None:
    assert numbers([1.234567, math.nan, math.inf, None, 3]) == [1.2346, None, None, None, 3.0]


def test_limits_are_a_little_wider_than_what_is_there() -> None:
    assert padded(1.0, 1.0, is_log=False) is None
    low, high = padded(1e-4, 1e-2, is_log=True) or (0, 0)
    assert math.log10(high) + 2 == pytest.approx(-(math.log10(low) + 4))  # as much to either side
    assert padded(0.0, 1.0, is_log=False) == pytest.approx((-0.03, 1.03))
    assert padded(1e-320, 1e308, is_log=True) == (1e-320, 1e308)


def test_trials_of_one_choice_do_not_hide_one_another() -> None:
    places = spread([1.0] * 100, list(range(100)))
    assert len(set(places)) == 100
    assert all(0.7 <= place <= 1.3 for place in places)


def test_first_layer_weights_are_images_scaled_to_their_own_range() -> None:
    weight = np.arange(2 * 12, dtype=np.float32).reshape(2, 12)
    tiles = first_layer({"0.bias": np.zeros(2), "0.weight": weight}, (1, 3, 4))
    assert tiles is not None
    assert tiles.shape == (2, 3, 4, 1)
    assert tiles[1].ravel() == pytest.approx(np.arange(12) / 11)
    kernels = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    colored = first_layer({"0.weight": kernels}, (3, 8, 8))
    assert colored is not None
    assert colored.shape == (5, 3, 3, 3)
    assert colored[0, :, :, 1].ravel() == pytest.approx(
        ((kernels[0, 1] - kernels[0].min()) / np.ptp(kernels[0])).ravel()
    )


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"0.weight": np.zeros(7)},
        {"0.weight": np.zeros((2, 5))},
        {"0.weight": np.zeros((2, 1, 1, 1))},
    ],
    ids=["none", "a vector", "of other inputs", "one pixel"],
)
def test_weights_that_are_no_images_are_none(weights: dict[str, np.ndarray]) -> None:
    assert first_layer(weights, (1, 3, 3)) is None


def test_constant_weights_are_grey() -> None:
    tiles = first_layer({"0.weight": np.full((1, 9), 7.0)}, (1, 3, 3))
    assert tiles is not None
    assert (tiles == 0.5).all()


def test_a_png_decodes_to_the_pixels_that_went_in() -> None:
    tiles = np.random.default_rng(0).random((20, 4, 5, 3))
    whole = mosaic(tiles)
    assert whole.shape == (2 * 5 - 1, 16 * 6 - 1, 4)
    assert (whole[:4, 6:11, :3] == np.round(tiles[1] * 255)).all()
    assert (whole[:4, 6:11, 3] == 255).all()
    assert not whole[4].any()  # the paper is seen through what is no tile
    assert not whole[5:, 4 * 6 - 1 :].any()
    decoded = imread(io.BytesIO(png(enlarged(whole))), format="png")
    times = decoded.shape[0] // whole.shape[0]
    assert np.round(decoded[::times, ::times] * 255) == pytest.approx(whole)
    grey = mosaic(tiles[..., :1])
    assert grey.shape[2] == 2
    assert zlib.crc32(b"IEND").to_bytes(4, "big") in png(grey)
    decoded = imread(io.BytesIO(png(grey)), format="png")
    assert np.round(decoded[..., 0] * 255) == pytest.approx(grey[..., 0])
    assert np.round(decoded[..., -1] * 255) == pytest.approx(grey[..., 1])


def test_the_pairs_most_confused_come_first() -> None:
    counts = np.array([[9, 0, 1], [4, 5, 0], [0, 2, 7]])
    found = most_confused(counts, ("a", "b", "c"))
    assert found.to_numpy().tolist() == [["b", "a", 4], ["c", "b", 2], ["a", "c", 1]]
