"""Groups that several devices train, and what one device reports of them."""

from __future__ import annotations

from typing import Any

import torch
from ranks import trained
from training_cases import MIXES, blobs, config, folded, images, line, mixed

from workers.data import Dataset
from workers.messages import Report, TrialGroup
from workers.training.parallel import ONE

# 70 examples in minibatches of 16: of 3 devices 5, 5 and 6 each, and 2 of the last one.
CASES: dict[str, tuple[Dataset, list[Any]]] = {
    **{name: (blobs(), mixed(name)) for name in MIXES},
    "images": (
        images(),
        [
            config(model="cnn", channels=(3,), flip=0.5, rotation=10.0, cutout=0.3, dropout=0.3)
            for _ in range(2)
        ],
    ),
    "images, batch norm": (
        images(),
        [config(model="cnn", channels=(3, 4), normalization="batch", dropout=0.2)] * 2,
    ),
    "regression": (line(), [config(loss="huber"), config(loss="huber", huber_delta=0.3)]),
    "folds": (folded(), [config(), config(learning_rate=0.03, optimizer="adam")]),
    "accumulation": (blobs(), [config(accumulation_steps=2)] * 2),
    "one example is left": (blobs(num_train=65), [config(dropout=0.3)] * 2),
    "one is left, batch norm": (blobs(num_train=65), mixed("batch norm")),
    "one image is left": (
        images(num_train=49),
        [config(model="cnn", channels=(3,), normalization="batch", dropout=0.2)] * 2,
    ),
    "one is left, own": (blobs(num_train=65), [config(model="own_nets:Recurrent")] * 2),
    "own": (blobs(), [config(model="own_nets:Perceptron", arguments=(("dropout", 0.3),))] * 2),
    "own, dropout in many places": (blobs(), [config(model="own_nets:DropsTwice")] * 2),
    "own, batch norm that is frozen": (blobs(), [config(model="own_nets:FrozenNorm")] * 2),
    "own, one by one": (blobs(), [config(model="own_nets:Recurrent")] * 2),
}


def alone(one: TrialGroup, dataset: Dataset) -> list[Report]:
    return trained(ONE, one, dataset)


def assert_alike(found: list[Report], expected: list[Report], tolerance: float = 1e-8) -> None:
    assert [report.epoch for report in found] == [report.epoch for report in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine.trials, mine.stopped) == (theirs.trials, theirs.stopped)
        assert mine.metrics.keys() == theirs.metrics.keys()
        for name, values in theirs.metrics.items():
            torch.testing.assert_close(
                torch.tensor(mine.metrics[name], dtype=torch.float64),
                torch.tensor(values, dtype=torch.float64),
                rtol=tolerance,
                atol=tolerance,
                equal_nan=True,
                msg=lambda text, name=name: f"{name}: {text}",
            )
