"""On a GPU the same trials give the same curves; skipped where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose
from training_cases import CPU, blobs, config, folded, group, images, line

from workers.config.learning import OPTIMIZERS
from workers.data import Dataset
from workers.messages import CheckpointSlice, Report, TrialGroup
from workers.training import block_epoch
from workers.training.device_name import device_name
from workers.training.feed import Batch, DeviceData
from workers.training.group_training import GroupTraining
from workers.training.kept import KeptCheckpoints
from workers.training.loop import train
from workers.training.recording import Recording
from workers.training.scores import Scores

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
    "max norm": (blobs(), {"max_norm": 0.5, "gradient_clip_value": 0.01, "ema_decay": 0.9}),
    "slow layers": (blobs(), {"frozen_layers": 1, "lr_multipliers": (1.0, 0.5)}),
    "accumulated": (blobs(), {"accumulation_steps": 2}),
    "growing batch": (blobs(), {"lr_schedule": "grow_batch", "lr_step_size": 2, "lr_decay": 0.5}),
    "own loss": (blobs(), {"loss": "own_losses:Smooth", "mixup": 0.4}),
    "own loss row by row": (blobs(), {"loss": "own_losses:branching"}),
    "own loss of numbers": (line(), {"loss": "torch.nn:SmoothL1Loss"}),
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


@pytest.mark.parametrize("how", [{"width": 2}, {"measures": True}], ids=str)
def test_blocks_train_on_the_gpu_as_all_rows_at_once(how: dict[str, object]) -> None:
    one = group(*(config(batch_size=5, learning_rate=0.01 * (1 + i)) for i in range(7)))
    gpu = torch.device("cuda")
    whole, parted = _losses(one, blobs(), gpu), _losses(replace(one, **how), blobs(), gpu)
    for trial, losses in whole.items():
        assert parted[trial] == pytest.approx(losses, rel=1e-9)


def test_memory_is_measured_on_the_gpu_and_its_name_told() -> None:
    data = DeviceData(blobs(), torch.device("cuda"))
    first = next(iter(train(group(*[config()] * 7, measures=True), data)))
    assert [speed.width for speed in first.speeds] == [1, 6]
    assert first.speeds[1].bytes > first.speeds[0].bytes > 0
    assert device_name(data.device).startswith("cuda ")


def test_rows_are_filled_from_the_gpus_memory_as_from_the_file(tmp_path: Path) -> None:
    gpu = torch.device("cuda")
    data, kept = DeviceData(blobs(), gpu), KeptCheckpoints.of_device(gpu)
    one = group(config(), config(optimizer="adam"), checkpoint_stem=str(tmp_path / "g"))
    last = list(train(one, data, kept))[-1]
    members = tuple(
        replace(m, resume=CheckpointSlice(file=last.checkpoint, row=last.trials.index(m.trial)))
        for m in reversed(one.members)
    )
    going_on = replace(one, members=members, start_epoch=4)
    from_file = GroupTraining(going_on, data).stack.rows
    for name, matrix in GroupTraining(going_on, data, kept).stack.rows.items():
        assert matrix.device.type == "cuda"
        assert torch.equal(matrix, from_file[name])


def test_a_diverging_member_is_dropped_on_the_gpu_too() -> None:
    one = group(config(), config(optimizer="sgd", learning_rate=1e200))
    losses = _losses(one, blobs(), torch.device("cuda"))
    assert (len(losses[0]), len(losses[1])) == (4, 0)


def test_a_step_is_recorded_once_and_again_when_rows_were_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widths: list[int] = []

    class Counted(Recording):
        def __init__(self, batch: Batch, scores: Scores, take: object, kept: object) -> None:
            super().__init__(batch, scores, take, kept)
            widths.append(len(scores.metrics("train")["train_loss"]))

    monkeypatch.setattr(block_epoch, "Recording", Counted)
    one = group(config(patience=1, min_delta=10.0), *[config(dropout=0.2)] * 2, epochs=6)
    losses = _losses(one, blobs(), torch.device("cuda"))
    assert [len(losses[trial]) for trial in range(3)] == [2, 6, 6]
    assert widths == [3, 2]


def test_a_step_that_was_recorded_takes_new_rates_and_counts_its_examples() -> None:
    one = group(config(lr_schedule="one_cycle", learning_rate=0.1), epochs=3)
    on_gpu, on_cpu = (
        list(train(one, DeviceData(blobs(), device))) for device in (torch.device("cuda"), CPU)
    )
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert ours.metrics.keys() == theirs.metrics.keys()
        for name, values in theirs.metrics.items():
            assert_allclose(ours.metrics[name], values, rtol=1e-7, err_msg=name)
