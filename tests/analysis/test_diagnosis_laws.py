"""Laws of the diagnoses, which hold for any curve: healthy, scaled, short, or of any numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnosis_cases import ALONE, DIGITS, NUM_LAYERS, falling, healthy, kinds
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sick_curves import SICK

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.finding import median
from hpsearch.analysis.diagnosis.fit import _smooth
from hpsearch.analysis.diagnosis.rules import FINDING_KINDS, diagnose


@given(epochs=st.integers(1, 60), rate=st.floats(0.3, 2), floor=st.floats(1e-6, 0.05))
def test_a_healthy_curve_has_none_after_any_number_of_epochs(
    epochs: int, rate: float, floor: float
) -> None:
    curve = healthy(train_loss=falling(epochs, floor, rate))
    assert kinds(curve) == kinds(curve, ALONE) == []


LOSSES = arrays(float, st.integers(1, 30), elements=st.floats(1e-3, 1e3))
SCALE = 2.0 ** np.arange(-8, 9)


@given(loss=LOSSES, gap=st.floats(0, 3), scale=st.sampled_from(SCALE))
def test_the_scale_of_the_loss_changes_no_finding(
    loss: np.ndarray, gap: float, scale: float
) -> None:
    def regression(scale: float) -> Curve:
        own = {"train_accuracy": math.nan, "val_accuracy": math.nan}
        rising = loss * np.linspace(1, 1 + gap, len(loss))
        return healthy(train_loss=scale * loss, val_loss=scale * rising, **own)

    assert kinds(regression(scale), ALONE) == kinds(regression(1.0), ALONE)


ANY = st.one_of(st.floats(), st.just(math.nan), st.floats(0, 1))
NAMES = tuple(healthy().series)


@given(data=st.data(), epochs=st.integers(1, 12), diverged=st.booleans())
def test_any_curve_gets_at_most_one_finding_of_each_question(
    data: st.DataObject, epochs: int, diverged: bool
) -> None:
    draw: Callable[..., Any] = lambda *shape: data.draw(arrays(float, shape, elements=ANY))  # noqa: E731
    curve = Curve(
        series={name: draw(epochs) for name in NAMES},
        layers_NL=draw(epochs, NUM_LAYERS),
        diverged=diverged,
    )
    with np.errstate(over="ignore", invalid="ignore"):  # numbers such as 1e308 of no training
        found = diagnose(curve, DIGITS)
    assert len(found) <= 2
    assert all(finding.kind in FINDING_KINDS and finding.message for finding in found)


@given(name=st.sampled_from(NAMES), sick=st.sampled_from(sorted(SICK)))
def test_a_metric_that_an_older_version_did_not_store_is_no_error(name: str, sick: str) -> None:
    curve = SICK[sick][1]
    missing = {**curve.series, name: np.full(len(curve), math.nan)}
    without = Curve(series=missing, layers_NL=np.empty((0, 0)), diverged=curve.diverged)
    assert len(diagnose(without, ALONE)) <= 2


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_short_curve_says_little(epochs: int) -> None:
    for name, (kind, curve) in SICK.items():
        cut = {name: of[:epochs] for name, of in curve.series.items()}
        short = Curve(series=cut, layers_NL=curve.layers_NL[:epochs], settings=curve.settings)
        told = kinds(short, Context(num_classes=10))
        of_state = {"dead_units", "saturated_units", "vanishing_gradients", "exploding_gradients"}
        of_three = (
            {"initialization", "rate_too_high", "update_ratio", "decay_too_strong"}
            if epochs == 3
            else set()
        )
        against_guessing = {"rate_too_high"} if name in ("blown up", "overshooting") else set()
        assert set(told) <= of_state | of_three | against_guessing, kind


@given(values=arrays(float, st.integers(3, 30), elements=st.floats(-1e6, 1e6)))
def test_medians_are_those_of_numpy(values: np.ndarray) -> None:
    assert median(values) == np.median(values)
    windows = np.lib.stride_tricks.sliding_window_view(values, 3)
    assert np.array_equal(_smooth(values), np.median(windows, axis=1))
