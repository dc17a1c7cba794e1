"""Curves that tests diagnose: made by hand, or of a real training of digits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from hpsearch.analysis.diagnosis.curve import Context, Curve
from hpsearch.analysis.diagnosis.rules import diagnose
from workers.config import TrainConfig
from workers.data import load
from workers.data.config import DataConfig
from workers.messages import Member, TrialGroup
from workers.training.feed import DeviceData
from workers.training.loop import train

# What good trials of digits reach, and at which rate.
DIGITS = Context(best=0.985, better_rate=0.05, num_classes=10)
ALONE = Context()
NUM_LAYERS = 4


def falling(epochs: int = 20, floor: float = 0.02, rate: float = 0.5) -> np.ndarray:
    """A loss as it should be: from about ln 10 down to a floor, fast at first."""
    return floor + 2.2 * np.exp(-rate * np.arange(epochs))


def healthy(epochs: int = 20, **changes: Any) -> Curve:
    """A trial that nothing is wrong with; ``changes`` are series, layers_NL, settings, …"""
    loss = changes.pop("train_loss", falling(epochs))
    epochs = len(loss)
    fields = {name: changes.pop(name) for name in FIELDS if name in changes}
    score = 1.0 - np.clip(loss / 3, 0, 0.9)
    series = {
        "train_loss": loss,
        "train_accuracy": score,
        "val_loss": loss + 0.03,
        "val_accuracy": score - 0.01,
        "learning_rate": np.full(epochs, 0.1),
        "gradient_norm": np.linspace(1.0, 0.1, epochs),
        "update_ratio": np.geomspace(5e-3, 2e-4, epochs),
        "dead_fraction": np.full(epochs, 0.02),
        "saturated_fraction": np.full(epochs, 0.05),
        **changes,
    }
    layers = np.tile(np.linspace(0.3, 1.0, NUM_LAYERS), (epochs, 1))
    series = {name: np.broadcast_to(of, epochs).astype(float) for name, of in series.items()}
    return Curve(**{"series": series, "layers_NL": layers, **fields})


FIELDS = ("layers_NL", "settings", "objective", "mode", "diverged")


def kinds(curve: Curve, context: Context = DIGITS) -> list[str]:
    return [finding.kind for finding in diagnose(curve, context)]


@cache
def digits(limit: int | None = None) -> DeviceData:
    """The digits on the CPU, centred, all or ``limit`` of them for both parts."""
    config = DataConfig(source="digits", validation=0.2, preprocess=("zero_center",), limit=limit)
    return DeviceData(load(config, 0), torch.device("cpu"))


def trained(epochs: int, limit: int | None = None, **settings: Any) -> Curve:
    """The curve of a network that was trained on digits with ``settings``, as it would be read."""
    config = TrainConfig(**{"hidden_units": (64,), "learning_rate": 0.03, **settings})
    group = TrialGroup(
        name="diagnosed",
        members=(Member(trial=0, seed=11, config=config),),
        order_seed=5,
        start_epoch=0,
        end_epoch=epochs,
    )
    rows: list[Mapping[str, Any]] = []
    diverged = False
    for report in train(group, digits(limit)):
        rows += [{name: of[0] for name, of in report.metrics.items()} for _ in report.trials]
        rows += [ended.metrics for ended in report.diverged]
        diverged = bool(report.diverged)
    layers = np.array([row["layer_gradient_norms"] for row in rows])
    names = rows[0].keys() - {"layer_gradient_norms"}
    series = {name: np.array([row[name] for row in rows], dtype=float) for name in names}
    return Curve(series=series, layers_NL=layers, settings=settings, diverged=diverged)
