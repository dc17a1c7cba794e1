"""Every rule begins at the threshold that docs/diagnoses.md gives: a curve past it, one before."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from diagnosis_cases import ALONE, falling, healthy, kinds

from hpsearch.analysis.diagnosis.curve import Context, Curve

EPOCHS = 20
WAVE = np.where(np.arange(EPOCHS) % 2, 1.0, -1.0)
TEN = Context(num_classes=10)
GUESSES: dict[str, Any] = {"train_accuracy": 0.1, "val_accuracy": 0.1, "update_ratio": 1e-3}
LN_10 = math.log(10)
UNSCALED = {"initialization": "normal"}


def jumping(level: float, jitter: float) -> np.ndarray:
    return np.maximum(falling(), level) * np.exp(jitter * WAVE)


def plateau(level: float = 0.4, jitter: float = 0.02, **changes: Any) -> Curve:
    return healthy(**{"train_loss": jumping(level, jitter), "update_ratio": 4e-3, **changes})


def leaping(jitter: float) -> Curve:
    loss = falling(rate=0.1) * np.exp(jitter * WAVE)
    return healthy(train_loss=loss, update_ratio=1e-2)


def blown_up(first: float, end: float = 2.31, ratio: float = 1e-2, **changes: Any) -> Curve:
    loss = np.append(first * LN_10, np.full(EPOCHS - 1, end))
    return healthy(train_loss=loss, **{**GUESSES, "update_ratio": ratio, **changes})


def line(left: float, **changes: Any) -> Curve:
    return healthy(**{"train_loss": 2.0 * np.linspace(1, left, EPOCHS), **changes})


def bent(share: float) -> Curve:
    """A fall of which a share is in the second half."""
    first, second = np.linspace(2.0, 1.7 + 0.3 * share, 11), np.linspace(1.7 + 0.3 * share, 1.7, 10)
    return healthy(train_loss=np.concatenate([first, second[1:]]))


def layered(*norms: float) -> Curve:
    return healthy(layers_NL=np.tile(norms, (EPOCHS, 1)))


def flat(level: float = LN_10, jitter: float = 1e-3, **changes: Any) -> Curve:
    return healthy(**{"train_loss": level * (1 + jitter * WAVE), **GUESSES, **changes})


def diverging(scale: float) -> Curve:
    settings = {**UNSCALED, "init_scale": scale}
    return healthy(train_loss=np.array([math.nan]), diverged=True, settings=settings)


def rising_validation(rise: float, jitter: float = 0.0, start: float = 2.2) -> Curve:
    rising = np.concatenate([start * np.exp(-np.arange(8.0)), np.full(12, 0.1)])
    rising[8:] *= np.linspace(1, 1 + rise, 12)
    rising[:8] = np.maximum(rising[:8], 0.1)
    return healthy(val_loss=rising * (1 + jitter * WAVE))


def gap(size: float, jitter: float = 0.0) -> Curve:
    score = np.minimum(np.linspace(0.3, 1.5, EPOCHS), 0.98)
    validation = np.minimum(score, 0.98 - size) + jitter * WAVE
    return healthy(train_accuracy=score, val_accuracy=validation)


def loss_gap(share: float) -> Curve:
    loss = falling()
    validation = np.maximum(loss, at(loss) + share * loss[0])
    return healthy(val_loss=validation, val_accuracy=math.nan, train_accuracy=math.nan)


def at(loss: np.ndarray) -> float:
    return float(loss[-2])


def converged(score: float, apart: float = 0.0, loss: np.ndarray | None = None) -> Curve:
    level = np.maximum(falling(), 1.2) if loss is None else loss
    return healthy(train_loss=level, train_accuracy=score, val_accuracy=score - apart)


def levelling(first: float, last: float) -> Curve:
    """The logarithm of the loss falls by ``first`` in the first half, and by ``last`` after it."""
    logs = np.concatenate([np.linspace(first, 0, 10, endpoint=False), np.linspace(0, -last, 10)])
    return converged(0.5, loss=2 * np.exp(logs))


def decayed(decay: float, optimizer: str = "sgd", level: float = 2.3, **changes: Any) -> Curve:
    """At a rate of 0.1, and a loss that stays at its ``level``."""
    settings = {"optimizer": optimizer, "weight_decay": decay, "momentum": 0.9}
    guesses = {**GUESSES, "learning_rate": 0.1, **changes}
    return healthy(train_loss=level + 1e-3 * WAVE, settings=settings, **guesses)


def overshooting(decay: float) -> Curve:
    return decayed(decay, diverged=True)


def small_steps(ratio: float, left: float = 0.6, score: float = 0.9, **changes: Any) -> Curve:
    """A loss that stands at what is left, as where a schedule has ended."""
    loss = np.append(2.2, np.full(EPOCHS - 1, 2.2 * left))
    series = {"update_ratio": ratio, "train_accuracy": score, "val_accuracy": score, **changes}
    return healthy(train_loss=loss, **series)


BEST = Context(best=0.95)
HIGHER = Context(better_rate=0.5, num_classes=10)

# kind, beyond the threshold, before it, what it is compared with
THRESHOLDS: dict[str, tuple[str, Curve, Curve, Context]] = {
    "strong decay": ("decay_too_strong", decayed(0.31), decayed(0.29), TEN),
    "decay pulls": (
        "decay_too_strong",
        decayed(0.4, learning_rate=0.026),
        decayed(0.4, learning_rate=0.024),
        TEN,
    ),
    "decay pulls, momentum": (
        "decay_too_strong",
        decayed(0.4, "momentum", learning_rate=2.6e-3),
        decayed(0.4, "momentum", learning_rate=2.4e-3),
        TEN,
    ),
    "decay pulls apart": (
        "decay_too_strong",
        decayed(1.0, "adamw", learning_rate=0.031),
        decayed(1.0, "adamw", learning_rate=0.029),
        TEN,
    ),
    "decay moves": (
        "decay_too_strong",
        decayed(1.0, "adam", update_ratio=1.1e-3),
        decayed(1.0, "adam", update_ratio=9e-4),
        TEN,
    ),
    "decay at chance": (
        "decay_too_strong",
        decayed(1.0, level=0.96 * LN_10),
        decayed(1.0, level=0.94 * LN_10),
        TEN,
    ),
    "decay overshoots": ("decay_too_strong", overshooting(21), overshooting(19), ALONE),
    "rises": ("rate_too_high", line(1.12), line(1.08), ALONE),
    "blows up": ("rate_too_high", blown_up(2.1), blown_up(1.9), TEN),
    "no lower than guessing": ("rate_too_high", blown_up(9, 2.15), blown_up(9, 2.0), TEN),
    "thrown": (
        "rate_too_high",
        blown_up(9, ratio=5.1e-3),
        blown_up(9, ratio=4.9e-3),
        TEN,
    ),
    "thrown until dead": (
        "rate_too_high",
        blown_up(9, ratio=0.0, dead_fraction=0.41),
        blown_up(9, ratio=0.0, dead_fraction=0.39),
        TEN,
    ),
    "oscillates": ("rate_too_high", plateau(jitter=0.055), plateau(jitter=0.045), ALONE),
    "leaps": ("rate_too_high", leaping(0.28), leaping(0.2), ALONE),
    "jitters": ("plateau", plateau(jitter=0.012), plateau(jitter=0.008), ALONE),
    "high up": ("plateau", plateau(0.25), plateau(0.2), ALONE),
    "high up, behind": (
        "plateau",
        plateau(0.055, val_accuracy=0.8, train_accuracy=0.8),
        plateau(0.03, val_accuracy=0.8, train_accuracy=0.8, learning_rate=0.1),
        BEST,
    ),
    "not learned": (
        "plateau",
        plateau(train_accuracy=0.98),
        plateau(train_accuracy=0.995),
        ALONE,
    ),
    "full steps": ("plateau", plateau(update_ratio=1.1e-3), plateau(update_ratio=9e-4), ALONE),
    "slow": (
        "rate_too_low",
        line(0.52, train_accuracy=0.4, val_accuracy=0.4),
        line(0.48, train_accuracy=0.4, val_accuracy=0.4),
        BEST,
    ),
    "crawls": ("rate_too_low", line(0.78), line(0.72), ALONE),
    "linear": ("rate_too_low", bent(0.45), bent(0.3), ALONE),
    "small steps": (
        "rate_too_low",
        line(0.8, update_ratio=9e-3),
        line(0.8, update_ratio=1.1e-2),
        ALONE,
    ),
    "small steps of all": ("rate_too_low", small_steps(2.9e-4), small_steps(3.1e-4), HIGHER),
    "a higher rate is better": (
        "rate_too_low",
        small_steps(2e-4),
        small_steps(2e-4, learning_rate=0.51),
        HIGHER,
    ),
    "far from learned": ("rate_too_low", small_steps(2e-4, 0.52), small_steps(2e-4, 0.48), HIGHER),
    "fades": ("vanishing_gradients", layered(9e-4, 0.1, 1), layered(1.1e-3, 0.1, 1), ALONE),
    "grows": ("exploding_gradients", layered(1100, 9, 1), layered(900, 9, 1), ALONE),
    "steep": (
        "exploding_gradients",
        healthy(gradient_norm=110.0),
        healthy(gradient_norm=90.0),
        ALONE,
    ),
    "own fault": (
        "exploding_gradients",
        healthy(gradient_norm=110.0, update_ratio=0.09),
        healthy(gradient_norm=110.0, update_ratio=np.append(0.11, np.full(19, 1e-3))),
        ALONE,
    ),
    "too wide": ("exploding_gradients", diverging(0.55), diverging(0.45), ALONE),
    "flat": ("initialization", flat(jitter=0.004), flat(jitter=0.006), TEN),
    "near chance": ("initialization", flat(LN_10 * 1.04), flat(LN_10 * 1.06), TEN),
    "moves": ("initialization", flat(update_ratio=3.1e-4), flat(update_ratio=2.9e-4), TEN),
    "wild": ("update_ratio", healthy(update_ratio=0.11), healthy(update_ratio=0.09), ALONE),
    "still": ("update_ratio", healthy(update_ratio=9e-6), healthy(update_ratio=1.1e-5), ALONE),
    "dead": ("dead_units", healthy(dead_fraction=0.41), healthy(dead_fraction=0.39), ALONE),
    "saturated": (
        "saturated_units",
        healthy(saturated_fraction=0.51),
        healthy(saturated_fraction=0.49),
        ALONE,
    ),
    "worse": (
        "stop_early",
        rising_validation(0.25, start=0.5),
        rising_validation(0.15, start=0.5),
        ALONE,
    ),
    "visible": (
        "stop_early",
        rising_validation(0.5, start=2.2),
        rising_validation(0.5, start=3.5),
        ALONE,
    ),
    "more than noise": (
        "stop_early",
        rising_validation(0.5, jitter=0.07),
        rising_validation(0.5, jitter=0.25),
        ALONE,
    ),
    "gap": ("overfitting", gap(0.052), gap(0.048), ALONE),
    "gap beyond noise": ("overfitting", gap(0.2, 0.05), gap(0.2, 0.1), ALONE),
    "gap of losses": ("overfitting", loss_gap(0.27), loss_gap(0.23), ALONE),
    "low": ("underfitting", converged(0.53), converged(0.57), TEN),
    "below the best": ("underfitting", converged(0.89), converged(0.91), Context(best=0.955)),
    "converged": ("underfitting", levelling(2.0, 0.09), levelling(2.0, 0.11), TEN),
    "after a fall": ("underfitting", levelling(0.2, 0.075), levelling(0.2, 0.095), TEN),
    "of a usual size": (
        "underfitting",
        small_steps(3.1e-4, score=0.5),
        small_steps(2.9e-4, score=0.5),
        HIGHER,
    ),
    "no gap": ("underfitting", converged(0.5, 0.028), converged(0.5, 0.032), TEN),
}


@pytest.mark.parametrize(
    ("kind", "beyond", "before", "context"), THRESHOLDS.values(), ids=THRESHOLDS
)
def test_a_rule_begins_at_its_threshold(
    kind: str, beyond: Curve, before: Curve, context: Context
) -> None:
    assert kind in kinds(beyond, context)
    assert kind not in kinds(before, context)
