"""Every rule on curves made by hand: what it must find and what it must not; laws for any curve."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnosis_cases import ALONE, DIGITS, NUM_LAYERS, falling, healthy, kinds
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.rules import KINDS, diagnose

EPOCHS = 20
WAVE = np.where(np.arange(EPOCHS) % 2, 1.0, -1.0)  # up and down from epoch to epoch


def message(curve: Curve, kind: str, context: Context = DIGITS) -> str:
    (found,) = [finding for finding in diagnose(curve, context) if finding.kind == kind]
    return found.message


def layers(*norms: float) -> np.ndarray:
    return np.tile(norms, (EPOCHS, 1))


def plateau_at(level: float, jitter: float) -> np.ndarray:
    """A loss that falls as it should to ``level`` and jumps there by ``jitter`` of it."""
    return np.maximum(falling(), level) * (1 + jitter * WAVE)


def line(share: float, epochs: int = EPOCHS) -> np.ndarray:
    """A loss that falls linearly from 2.3 to a share of it."""
    return 2.3 * np.linspace(1.0, share, epochs)


def behind(**changes: Any) -> dict[str, Any]:
    return {"val_accuracy": 0.4, "train_accuracy": 0.4, **changes}


FLAT = 2.31 + 0.003 * WAVE
CHANCE: dict[str, Any] = {"train_loss": FLAT, "val_loss": 2.31, **behind(train_accuracy=0.1)}
RISING_VALIDATION = np.concatenate([falling(8), np.linspace(0.1, 0.4, 12)])

SICK: dict[str, tuple[str, Curve]] = {
    "diverged": ("rate_too_high", healthy(diverged=True, train_loss=np.array([2.3, math.nan]))),
    "rising": ("rate_too_high", healthy(train_loss=np.linspace(2.3, 2.9, EPOCHS))),
    "blown up": (
        "rate_too_high",
        healthy(train_loss=np.append(90.0, FLAT[1:]), dead_fraction=1.0, update_ratio=2e-2),
    ),
    "oscillating": ("rate_too_high", healthy(train_loss=plateau_at(0.9, 0.1), update_ratio=1e-2)),
    "leaping": (
        "rate_too_high",
        healthy(train_loss=falling(rate=0.1) * np.exp(0.5 * WAVE), update_ratio=1e-2),
    ),
    "crawling": ("rate_too_low", healthy(train_loss=line(0.8), update_ratio=4e-5)),
    "slow and behind": ("rate_too_low", healthy(train_loss=line(0.6), **behind())),
    "plateau": ("plateau", healthy(train_loss=plateau_at(0.4, 0.02), update_ratio=4e-3)),
    "dead at once": ("dead_units", healthy(dead_fraction=1.0, **CHANCE)),
    "dying": ("dead_units", healthy(dead_fraction=np.linspace(0, 0.7, EPOCHS))),
    "saturated": ("saturated_units", healthy(saturated_fraction=0.9)),
    "vanishing": ("vanishing_gradients", healthy(layers_NL=layers(1e-6, 1e-4, 0.1, 1), **CHANCE)),
    "exploding by layer": ("exploding_gradients", healthy(layers_NL=layers(5e3, 100, 10, 1))),
    "exploding": ("exploding_gradients", healthy(gradient_norm=500.0)),
    "exploding at once": (
        "exploding_gradients",
        healthy(
            train_loss=np.array([math.nan]),
            diverged=True,
            settings={"initialization": "normal", "init_scale": 1.0},
        ),
    ),
    "flat": ("initialization", healthy(**CHANCE)),
    "zeros": (
        "initialization",
        healthy(
            settings={"initialization": "zeros"},
            dead_fraction=1.0,
            layers_NL=layers(0, 0, 0, 0.1),
            **CHANCE,
        ),
    ),
    "large updates": ("update_ratio", healthy(update_ratio=0.3)),
    "no updates": ("update_ratio", healthy(update_ratio=1e-7)),
    "overfitting": (
        "overfitting",
        healthy(train_accuracy=np.linspace(0.3, 1, EPOCHS), val_accuracy=0.8),
    ),
    "overfitting by loss": (
        "overfitting",
        healthy(val_loss=np.maximum(falling(), 0.9), val_accuracy=math.nan),
    ),
    "worse validation": ("stop_early", healthy(val_loss=RISING_VALIDATION)),
    "underfitting": (
        "underfitting",
        healthy(train_loss=np.maximum(falling(), 1.6), **behind()),
    ),
    "underfitting to the stage": (
        "underfitting",
        healthy(train_loss=np.maximum(falling(), 0.5), train_accuracy=0.9, val_accuracy=0.9),
    ),
}


@pytest.mark.parametrize(("kind", "curve"), SICK.values(), ids=SICK)
def test_a_sick_curve_has_its_diagnosis_and_no_other(kind: str, curve: Curve) -> None:
    assert kinds(curve) == [kind]


def test_every_rule_has_a_sick_curve() -> None:
    assert {kind for kind, _ in SICK.values()} == set(KINDS)


@pytest.mark.parametrize(
    "curve",
    [
        healthy(settings={"mixup": 0.4}, train_loss=plateau_at(0.7, 0.04), update_ratio=2e-3),
        healthy(train_loss=plateau_at(0.1, 0.3), update_ratio=2e-3),  # jumps, but far down
        healthy(train_loss=plateau_at(0.4, 0.02), update_ratio=1e-4),  # the steps are small
        healthy(train_loss=plateau_at(0.4, 0.02), learning_rate=np.geomspace(1, 1e-3, EPOCHS)),
        healthy(train_loss=np.maximum(falling(), 0.4)),  # converged, nothing bounces
        healthy(train_loss=line(0.8, 8), learning_rate=np.linspace(0.01, 0.1, 8)),  # a warm-up
        healthy(train_loss=line(0.6)),  # slow, but nobody is faster
        healthy(train_loss=line(0.8), update_ratio=2e-2),  # the steps are large already
        healthy(dead_fraction=0.3, saturated_fraction=0.4),
        healthy(dead_fraction=math.nan, saturated_fraction=math.nan, layers_NL=np.empty((0, 0))),
        healthy(layers_NL=layers(0.0, 0.3, 0.3, 1), settings={"frozen_layers": 1}),
        healthy(layers_NL=layers(1e-2, 0.1, 0.5, 1)),
        healthy(layers_NL=np.tile([1e-5, 1.0], (EPOCHS, 1))),  # no depth to vanish in
        healthy(gradient_norm=500.0, update_ratio=0.09, train_accuracy=math.nan),  # regression
        healthy(val_loss=falling() + 0.1 + 0.05 * WAVE),  # validation jumps, and is no worse
        healthy(val_loss=falling() + np.linspace(0, 0.01, EPOCHS)),
        healthy(train_accuracy=0.9, val_accuracy=0.86, train_loss=falling(floor=0.01)),
        healthy(train_accuracy=0.995, val_accuracy=0.93),  # a gap from the first epoch on
        healthy(update_ratio=np.geomspace(1e-2, 1e-9, EPOCHS)),  # a schedule that ends at nothing
        healthy(train_loss=FLAT, **behind(train_accuracy=0.9), settings={"warm_start": "a/1"}),
        healthy(train_loss=0.02 + 1e-5 * WAVE),  # flat, and far below chance: learned at once
    ],
)
def test_a_curve_that_only_looks_sick_has_none(curve: Curve) -> None:
    assert kinds(curve, Context(best=curve.value, num_classes=10)) == []


def test_a_score_near_the_best_of_the_stage_is_no_underfitting() -> None:
    curve = healthy(train_loss=np.maximum(falling(), 0.2), train_accuracy=0.95, val_accuracy=0.945)
    assert kinds(curve) == []
    assert kinds(curve, Context(best=0.99, num_classes=10)) == []
    assert kinds(curve, Context(best=1.0, num_classes=10)) == ["underfitting"]


# Laws


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
    assert all(finding.kind in KINDS and finding.message for finding in found)


@given(name=st.sampled_from(NAMES), sick=st.sampled_from(sorted(SICK)))
def test_a_metric_that_an_older_version_did_not_store_is_no_error(name: str, sick: str) -> None:
    curve = SICK[sick][1]
    missing = {**curve.series, name: np.full(len(curve), math.nan)}
    without = Curve(series=missing, layers_NL=np.empty((0, 0)), diverged=curve.diverged)
    assert len(diagnose(without, ALONE)) <= 2


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_short_curve_says_little(epochs: int) -> None:
    for kind, curve in SICK.values():
        cut = {name: of[:epochs] for name, of in curve.series.items()}
        short = Curve(series=cut, layers_NL=curve.layers_NL[:epochs], settings=curve.settings)
        told = kinds(short, Context(num_classes=10))
        of_state = {"dead_units", "saturated_units", "vanishing_gradients", "exploding_gradients"}
        of_three = {"initialization", "rate_too_high", "update_ratio"} if epochs == 3 else set()
        assert set(told) <= of_state | of_three, kind


# Order, evidence, advice


def test_units_that_die_under_large_updates_are_the_rates_doing() -> None:
    dead = {"dead_fraction": 0.9}
    assert "lower the learning rate" in message(healthy(**dead, update_ratio=3e-2), "dead_units")
    assert "start biases at 0" in message(healthy(**dead, update_ratio=1e-3), "dead_units")


def test_a_slow_curve_has_not_converged() -> None:
    slow = healthy(train_loss=line(0.93), **behind(), update_ratio=2e-2)
    assert kinds(slow) == []


def test_the_cause_is_told_and_not_its_consequences() -> None:
    dead = {"dead_fraction": 1.0, "update_ratio": 1e-7}
    assert kinds(healthy(layers_NL=layers(0, 0, 0, 0.1), **dead, **CHANCE)) == ["dead_units"]
    saturated = {"saturated_fraction": 0.9, "layers_NL": layers(1e-6, 1e-4, 0.1, 1)}
    assert kinds(healthy(**saturated, **CHANCE)) == ["saturated_units"]
    assert kinds(healthy(diverged=True, dead_fraction=1.0)) == ["rate_too_high"]
    overfitted = {"val_loss": RISING_VALIDATION, "val_accuracy": 0.6}
    assert kinds(healthy(**overfitted)) == ["stop_early"]


def test_what_keeps_from_learning_and_what_from_generalizing_are_told_both() -> None:
    curve = healthy(dead_fraction=0.6, val_loss=RISING_VALIDATION)
    assert kinds(curve) == ["dead_units", "stop_early"]


def test_a_trial_that_diverged_with_small_updates_from_saturated_units_started_badly() -> None:
    loss = np.array([116.0, 60.0, 50.0])
    bad = {"train_loss": loss, "saturated_fraction": 0.9, "diverged": True}
    assert kinds(healthy(**bad, update_ratio=1e-3)) == ["saturated_units"]
    assert kinds(healthy(**bad, update_ratio=5e-2)) == ["rate_too_high"]


def test_a_trial_is_slow_only_if_another_of_its_stage_is_far_ahead() -> None:
    curve = healthy(train_loss=line(0.6), train_accuracy=0.5, val_accuracy=0.5)
    assert kinds(curve, Context(best=0.7)) == []
    assert kinds(curve, Context(best=0.76)) == ["rate_too_low"]


@pytest.mark.parametrize(
    ("mode", "mine", "best", "is_behind"),
    [
        ("max", 0.8, 0.91, True),
        ("max", 0.8, 0.89, False),
        ("max", 0.999, 0.9999, False),  # ten times the error, and of no use to anybody
        ("min", 2.1, 1.0, True),
        ("min", 1.9, 1.0, False),
        ("max", math.nan, 0.9, False),
    ],
)
def test_behind_is_twice_the_error(mode: Any, mine: float, best: float, is_behind: bool) -> None:
    curve = healthy(train_loss=np.ones(1), val_accuracy=mine, mode=mode)
    assert Context(best=best).is_behind(curve) is is_behind
    assert not ALONE.is_behind(curve)


def test_messages_name_the_evidence_and_the_cure() -> None:
    assert "epoch 2" in message(SICK["diverged"][1], "rate_too_high")
    assert "learning rate of 0.1" in message(SICK["oscillating"][1], "rate_too_high")
    assert "layers 1 to 2 of 4" in message(SICK["vanishing"][1], "vanishing_gradients")
    assert "ln 10 is chance" in message(SICK["flat"][1], "initialization")
    assert "under zeros all units" in message(SICK["zeros"][1], "initialization")
    assert "0 % in the first epoch: lower the learning rate" in message(
        SICK["dying"][1], "dead_units"
    )
    late = healthy(train_loss=np.concatenate([FLAT[:6], falling(14)]), val_loss=1.0)
    assert "for the first 7 epochs" in message(late, "initialization")


def test_the_epoch_to_stop_at_is_where_validation_was_best() -> None:
    (found,) = diagnose(SICK["worse validation"][1], DIGITS)
    lowest = int(np.argmin(RISING_VALIDATION)) + 1
    assert abs(found.evidence["epoch"] - lowest) <= 1


def test_every_kind_is_explained_in_the_docs_in_its_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "diagnoses.md").read_text()
    explained = re.findall(r"^### (\w+)$", page, flags=re.MULTILINE)
    assert tuple(explained[: len(KINDS)]) == KINDS
    assert explained[len(KINDS)] == "noise"
