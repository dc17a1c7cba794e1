"""Small data sets and groups that the tests of the training room share."""

from __future__ import annotations

import numpy as np
import torch

from workers.config import TrainConfig
from workers.data import Dataset
from workers.messages import Member, TrialGroup
from workers.training.feed.device_data import DeviceData

CPU = torch.device("cpu")


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


def device_data() -> DeviceData:
    return DeviceData(blobs(), CPU)


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
