"""On a GPU the same trials give the same curves; skipped where there is none."""

from __future__ import annotations

import pytest
import torch
from training_cases import CPU, blobs, config, folded, group, images, line

from workers.config.learning import OPTIMIZERS
from workers.data import Dataset
from workers.messages import Report, TrialGroup
from workers.training.feed import DeviceData
from workers.training.loop import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
# Everything that draws random numbers, keeps state, or has kernels of its own on a GPU.
PARTS: dict[str, tuple[Dataset, dict[str, object]]] = {
    "plain": (blobs(), {}),
    "dropout": (blobs(), {"dropout": 0.4, "input_dropout": 0.2}),
    "noise": (blobs(), {"input_noise": 0.3, "corruption": 0.2, "mixup": 0.4}),
    "gradient": (
        blobs(),
        {"gradient_noise": 0.1, "gradient_clip_norm": 0.5, "max_norm": 1.0, "ema_decay": 0.9},
    ),
    "loss": (blobs(), {"label_smoothing": 0.1, "class_weights": "balanced"}),
    "hinge": (blobs(), {"loss": "hinge"}),
    "hard": (blobs(), {"sampling": "hard"}),
    "schedule": (blobs(), {"lr_schedule": "one_cycle", "warmup_epochs": 1.5}),
    "plateau": (blobs(), {"lr_schedule": "plateau", "lr_patience": 1, "patience": 3}),
    "batch norm": (blobs(), {"normalization": "batch"}),
    "group norm": (blobs(), {"normalization": "group", "norm_groups": 3}),
    "weight norm": (blobs(), {"normalization": "weight"}),
    "prelu": (blobs(), {"activation": "prelu"}),
    "step": (blobs(), {"activation": "step"}),
    "folds": (folded(), {"dropout": 0.3}),
    "regression": (line(), {"loss": "huber"}),
    "cnn": (images(), {"model": "cnn", "channels": (4, 4), "normalization": "batch"}),
    "augmented": (
        images(),
        {"model": "cnn", "channels": (4,), "rotation": 20, "translation": 0.2, "flip": 0.5},
    ),
    "cutout": (images(), {"scaling": 0.2, "cutout": 0.3}),
}


def _losses(one: TrialGroup, dataset: Dataset, device: torch.device) -> dict[int, list[float]]:
    reports: list[Report] = list(train(one, DeviceData(dataset, device)))
    return {
        member.trial: [
            report.metrics["val_loss"][report.trials.index(member.trial)]
            for report in reports
            if member.trial in report.trials
        ]
        for member in one.members
    }


@pytest.mark.parametrize("part", PARTS)
def test_a_group_trains_alike_on_the_gpu_and_on_the_cpu(part: str) -> None:
    dataset, fields = PARTS[part]
    one = group(*(config(optimizer=n, **fields) for n in ("sgd", "momentum", "adam", "rmsprop")))
    on_gpu, on_cpu = _losses(one, dataset, torch.device("cuda")), _losses(one, dataset, CPU)
    for trial, losses in on_cpu.items():
        assert on_gpu[trial] == pytest.approx(losses, rel=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains_alike_on_the_gpu_and_on_the_cpu(optimizer: str) -> None:
    one = group(config(optimizer=optimizer, learning_rate=1e-3), config(optimizer=optimizer))
    on_gpu, on_cpu = (_losses(one, blobs(), device) for device in (torch.device("cuda"), CPU))
    for trial, losses in on_cpu.items():
        assert on_gpu[trial] == pytest.approx(losses, rel=1e-7)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "tf32"])
def test_every_precision_learns_on_the_gpu(precision: str) -> None:
    one = group(config(precision=precision, learning_rate=0.05), epochs=8)
    losses = _losses(one, blobs(), torch.device("cuda"))[0]
    assert losses[-1] < 0.8 * losses[0]


def test_a_diverging_member_is_dropped_on_the_gpu_too() -> None:
    one = group(config(), config(optimizer="sgd", learning_rate=1e200))
    losses = _losses(one, blobs(), torch.device("cuda"))
    assert (len(losses[0]), len(losses[1])) == (4, 0)
