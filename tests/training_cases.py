"""Small data sets and groups that the tests of the training room share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from workers.config import TrainConfig
from workers.config.combination import DataShape
from workers.data import Dataset
from workers.messages import Member, TrialGroup
from workers.training.feed import DeviceData

CPU = torch.device("cpu")

# Parts of which each member of a group may have its own amount, three of each.
MIXES: dict[str, dict[str, object]] = {
    "optimizers": {"optimizer": ["adam", "lion", "swats"]},
    "augmentation": {
        "input_noise": [0.0, 0.5, 1.0],
        "mixup": [0.0, 0.2, 1.0],
        "corruption": [0.1, 0.0, 0.2],
    },
    "dropout": {"dropout": [0.0, 0.3, 0.5], "input_dropout": [0.2, 0.0, 0.1]},
    "loss": {"label_smoothing": [0.0, 0.1, 0.3], "class_weights": ["none", "balanced", "none"]},
    "schedules": {
        "lr_schedule": ["one_cycle", "cosine", "plateau"],
        "warmup_epochs": [0.0, 1.5, 0.5],
        "lr_scaling": ["none", "sqrt", "linear"],
    },
    "hard": {"sampling": "hard", "hard_emphasis": [0.5, 1.0, 2.0]},
    "batch norm": {"normalization": "batch", "norm_momentum": [0.1, 0.5, 0.9]},
    "weight norm": {"normalization": "weight"},
    "prelu": {"activation": "prelu"},
    "slope": {"activation": "leaky_relu", "negative_slope": [0.0, 0.1, 0.3]},
    "gradient": {
        "gradient_noise": [0.0, 0.1, 0.01],
        "gradient_clip_norm": [None, 0.1, 1.0],
        "ema_decay": [0.9, 0.0, 0.5],
    },
    "patience": {"patience": [None, 1, 2], "learning_rate": [0.01, 1.0, 1e-9]},
}


def blobs(num_train: int = 70, num_features: int = 12, num_classes: int = 4) -> Dataset:
    """Gaussian blobs, one a class, far enough apart to be learned and near enough to err."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(num_classes, num_features)) * 1.5
    total = num_train + 40
    y = np.arange(total) % num_classes
    x = (centres[y] + draw.normal(size=(total, num_features))).astype(np.float32)
    return Dataset(
        x_train=x[:num_train],
        y_train=y[:num_train],
        x_validation=x[num_train:],
        y_validation=y[num_train:],
        class_names=tuple(map(str, range(num_classes))),
    )


def images(num_train: int = 60, side: int = 8, channels: int = 2) -> Dataset:
    """Noisy images of three classes: a bright top, a bright left side, or neither."""
    draw = np.random.default_rng(1)
    total = num_train + 30
    y = np.arange(total) % 3
    x = draw.normal(size=(total, channels, side, side)).astype(np.float32)
    x[y == 1, :, : side // 2] += 1.0
    x[y == 2, :, :, : side // 2] += 1.0
    return Dataset(
        x_train=x[:num_train],
        y_train=y[:num_train],
        x_validation=x[num_train:],
        y_validation=y[num_train:],
        class_names=("neither", "top", "left"),
    )


def line(num_train: int = 80, num_features: int = 5) -> Dataset:
    """A regression: a noisy linear function, on a scale of its own."""
    draw = np.random.default_rng(2)
    total = num_train + 40
    x = draw.normal(size=(total, num_features)).astype(np.float32)
    y = x @ draw.normal(size=num_features) * 30 + 100 + draw.normal(size=total)
    y = y.astype(np.float32)
    return Dataset(
        x_train=x[:num_train],
        y_train=y[:num_train],
        x_validation=x[num_train:],
        y_validation=y[num_train:],
        class_names=(),
        target_mean=y[:num_train].mean(keepdims=True, dtype=np.float64),
        target_scale=y[:num_train].std(keepdims=True, dtype=np.float64),
    )


def folded(num_folds: int = 3, num_rows: int = 90) -> Dataset:
    """The blobs without a validation part: every fold validates on rows of its own."""
    whole = blobs(num_train=num_rows)
    size = num_rows // num_folds
    return replace(
        whole,
        x_validation=whole.x_validation[:0],
        y_validation=whole.y_validation[:0],
        transforms=whole.transforms * num_folds,
        target_mean=np.zeros(num_folds),
        target_scale=np.ones(num_folds),
        fold_rows=np.arange(num_folds * size).reshape(num_folds, size),
    )


def of_outputs(num_outputs: int) -> DataShape:
    """Data of so many classes, or of numbers if there is one output."""
    return DataShape(
        num_features=1,
        image=None,
        num_outputs=num_outputs,
        is_regression=num_outputs == 1,
        num_train=100,
    )


def shape() -> DataShape:
    return blobs().shape()


def device_data(dataset: Dataset | None = None) -> DeviceData:
    return DeviceData(dataset or blobs(), CPU)


def config(**fields: object) -> TrainConfig:
    """A small network in float64 unless told otherwise, so that formulas can be held to 1e-10."""
    defaults = {"hidden_units": (9,), "batch_size": 16, "precision": "float64"}
    return TrainConfig(**{**defaults, **fields})


def group(*configs: TrainConfig, epochs: int = 4, **fields: object) -> TrialGroup:
    """One member a configuration; trial i has seed 100 + i."""
    members = tuple(
        Member(trial=i, seed=100 + i, config=config) for i, config in enumerate(configs)
    )
    return TrialGroup(
        **{
            "name": "test",
            "members": members,
            "order_seed": 7,
            "start_epoch": 0,
            "end_epoch": epochs,
            **fields,
        }
    )


def mixed(part: str, count: int = 3, **fields: object) -> list[TrainConfig]:
    """``count`` configurations that differ in the amounts of ``MIXES[part]``, in turns."""
    mix = MIXES[part]
    return [
        config(
            **fields, **{name: v[i % 3] if isinstance(v, list) else v for name, v in mix.items()}
        )
        for i in range(count)
    ]
