"""Every rule on curves made by hand: what it must find, what it must not, what is told first."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnosis_cases import ALONE, DIGITS, falling, healthy, kinds
from sick_curves import (
    CHANCE,
    EPOCHS,
    FLAT,
    RISING_VALIDATION,
    SICK,
    WAVE,
    behind,
    layers,
    line,
    plateau_at,
)

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.rules import FINDING_KINDS, diagnose


def message(curve: Curve, kind: str, context: Context = DIGITS) -> str:
    (found,) = [finding for finding in diagnose(curve, context) if finding.kind == kind]
    return found.message


@pytest.mark.parametrize(("kind", "curve"), SICK.values(), ids=SICK)
def test_a_sick_curve_has_its_diagnosis_and_no_other(kind: str, curve: Curve) -> None:
    assert kinds(curve) == [kind]


def test_every_rule_has_a_sick_curve() -> None:
    assert {kind for kind, _ in SICK.values()} == set(FINDING_KINDS)


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


def test_a_gap_that_was_negative_in_the_first_epoch_began_at_none() -> None:
    train = np.append(0.3, np.full(EPOCHS - 1, 0.94))
    (found,) = diagnose(healthy(train_accuracy=train, val_accuracy=0.84), DIGITS)
    assert found.kind == "overfitting"
    assert "up from 0 in the first epoch" in found.message


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


def test_a_regression_blows_up_beside_guessing_the_mean() -> None:
    series = {"train_accuracy": math.nan, "val_accuracy": math.nan, "update_ratio": 3e-2}
    r2 = {"train_r2": np.array([-1e9, -1e3]), "val_r2": np.array([-1e6, -1e2])}
    dead = {"train_loss": np.array([1e9, 1e3]), "dead_fraction": 1.0}
    assert kinds(healthy(**series, **dead, **r2), ALONE) == ["rate_too_high"]
    learned = {**r2, "train_r2": np.array([-1e9, 0.5])}
    assert kinds(healthy(**series, **dead, **learned), ALONE) == ["dead_units"]


def test_without_stored_update_ratios_nobody_knows_that_steps_were_large() -> None:
    lost = {"train_loss": np.array([90.0, 2.4]), "val_loss": 2.4, "update_ratio": math.nan}
    assert kinds(healthy(**lost, settings={})) == []
    assert kinds(healthy(**lost, dead_fraction=1.0)) == ["rate_too_high"]


def test_what_comes_back_below_guessing_did_not_blow_up() -> None:
    first, steps = {"train_loss": np.array([20.0])}, {"update_ratio": 3e-2}
    assert kinds(healthy(**first, **steps, val_loss=0.9)) == []
    assert kinds(healthy(**first, **steps, val_loss=20.0)) == ["rate_too_high"]


def test_a_start_that_does_not_look_at_the_fan_in_is_to_blame_itself() -> None:
    bad = {"train_loss": np.array([90.0, 80.0]), "val_loss": 80.0, "update_ratio": 3e-2}
    for state, kind in (
        ("gradient_norm", "exploding_gradients"),
        ("saturated_fraction", "saturated_units"),
    ):
        sick = {**bad, state: 500.0}
        assert kinds(healthy(**sick)) == ["rate_too_high"]
        assert kinds(healthy(**sick, settings={"initialization": "normal"})) == [kind]


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


def test_of_an_objective_that_is_none_of_ours_nobody_knows_what_is_behind() -> None:
    """1 - value is its error only where 1 is the best there is."""
    curve = healthy(train_loss=np.ones(1), value=-5.0, objective="value", mode="max")
    assert curve.value == -5.0
    assert not Context(best=-1.0).is_behind(curve)


def test_messages_name_the_evidence_and_the_cure() -> None:
    assert "epoch 2" in message(SICK["diverged"][1], "rate_too_high")
    assert "plateau of 0.9 at a learning_rate of" in message(
        SICK["oscillating"][1], "rate_too_high"
    )
    assert "layers 1 to 2 of 4" in message(SICK["vanishing"][1], "vanishing_gradients")
    assert "ln 10 is chance" in message(SICK["flat"][1], "initialization")
    assert "under zeros all units" in message(SICK["zeros"][1], "initialization")
    assert "0 % in the first epoch: lower the learning rate" in message(
        SICK["dying"][1], "dead_units"
    )
    late = healthy(train_loss=np.concatenate([FLAT[:6], falling(14)]), val_loss=1.0)
    assert "for the first 7 epochs" in message(late, "initialization")


def test_the_rate_that_is_named_is_the_trials_own() -> None:
    own = {"settings": {"learning_rate": 0.5}}
    scheduled = {"train_loss": plateau_at(0.9, 0.1), "update_ratio": 1e-2, "learning_rate": 0.03}
    told = message(healthy(**scheduled, **own), "rate_too_high")
    assert "at a learning_rate of 0.5 (0.03 in its last epoch)" in told
    constant = message(healthy(**{**scheduled, "learning_rate": 0.5}, **own), "rate_too_high")
    assert "at a learning_rate of 0.5:" in constant
    small = dataclasses.replace(SICK["small steps"][1], settings={"learning_rate": 2e-3})
    assert "raise the learning_rate, here 0.002," in message(small, "rate_too_low")


def test_kaiming_is_advised_only_to_a_start_without_it() -> None:
    for start, is_advised in (("kaiming_uniform", False), ("xavier_normal", True)):
        curve = healthy(settings={"initialization": start}, **CHANCE)
        assert ("kaiming" in message(curve, "initialization")) is is_advised


def test_a_decay_that_overshoots_is_told_with_its_factor() -> None:
    assert "multiplies the weights by -2" in message(SICK["overshooting"][1], "decay_too_strong")


@pytest.mark.parametrize("name", ["diverged", "rising", "blown up", "oscillating", "large updates"])
def test_to_rprop_no_lower_rate_is_advised(name: str) -> None:
    kind, curve = SICK[name]
    assert "lower the rate" in message(curve, kind)
    rprop = dataclasses.replace(curve, settings={"optimizer": "rprop"})
    assert "lower the rate" not in message(rprop, kind)
    assert "larger batches, or another optimizer" in message(rprop, kind)


def test_the_epoch_to_stop_at_is_where_validation_was_best() -> None:
    (found,) = diagnose(SICK["worse validation"][1], DIGITS)
    lowest = int(np.argmin(RISING_VALIDATION)) + 1
    assert abs(found.evidence["epoch"] - lowest) <= 1


def test_every_kind_is_explained_in_the_docs_in_its_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "diagnoses.md").read_text()
    explained = re.findall(r"^### (\w+)$", page, flags=re.MULTILINE)
    assert tuple(explained[: len(FINDING_KINDS)]) == FINDING_KINDS
    assert explained[len(FINDING_KINDS)] == "nothing_complete"  # those of the search follow
