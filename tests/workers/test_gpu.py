"""On a GPU the same trials give the same curves; skipped where there is none."""

from __future__ import annotations

import pytest
import torch
from training_cases import CPU, blobs, config, group

from workers.messages import Report, TrialGroup
from workers.training.loop import train
from workers.training.feed import DeviceData

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def _losses(one: TrialGroup, device: torch.device) -> dict[int, list[float]]:
    reports: list[Report] = list(train(one, DeviceData(blobs(), device)))
    return {
        member.trial: [
            report.metrics["val_loss"][report.trials.index(member.trial)]
            for report in reports
            if member.trial in report.trials
        ]
        for member in one.members
    }


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_group_trains_alike_on_the_gpu_and_on_the_cpu(dropout: float) -> None:
    names = ("sgd", "momentum", "adam", "rmsprop", "adadelta", "adagrad", "nesterov", "adamw")
    one = group(*(config(optimizer=name, dropout=dropout) for name in names))
    on_gpu, on_cpu = _losses(one, torch.device("cuda")), _losses(one, CPU)
    for trial, losses in on_cpu.items():
        assert on_gpu[trial] == pytest.approx(losses, rel=1e-8)


def test_a_diverging_member_is_dropped_on_the_gpu_too() -> None:
    one = group(config(), config(optimizer="sgd", learning_rate=1e200))
    losses = _losses(one, torch.device("cuda"))
    assert (len(losses[0]), len(losses[1])) == (4, 0)
