"""Curves of trials that something is wrong with, made by hand, each with its diagnosis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from diagnosis_cases import falling, healthy

from hpsearch.analysis.diagnosis.curve import Curve

EPOCHS = 20
WAVE = np.where(np.arange(EPOCHS) % 2, 1.0, -1.0)  # up and down from epoch to epoch


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

DECAYED = {"settings": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 3.0}}
SICK: dict[str, tuple[str, Curve]] = {
    "decayed": ("decay_too_strong", healthy(dead_fraction=0.6, **DECAYED, **CHANCE)),
    "overshooting": (
        "decay_too_strong",
        healthy(
            diverged=True,
            train_loss=np.array([1e7, math.nan]),
            settings={"optimizer": "sgd", "weight_decay": 30.0},
        ),
    ),
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
    "small steps": (
        "rate_too_low",
        healthy(
            train_loss=2.2 + 0.1 * falling(), update_ratio=2e-4, learning_rate=0.01, **behind()
        ),
    ),
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
