"""Rows trained in blocks of any width, or of measured ones, give what they give all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from training_cases import MIXES, blobs, config, device_data, folded, group, images, line, mixed

from workers.config import TrainConfig
from workers.data import Dataset
from workers.messages import CheckpointSlice, Metric, Report, TrialGroup
from workers.training import widths
from workers.training.feed import DeviceData, sampling
from workers.training.group_training import GroupTraining
from workers.training.loop import train

NUM_MEMBERS = 11
BATCH = 5  # 14 steps an epoch: twelve are measured, and two are left


def _cnn(**fields: object) -> list[TrainConfig]:
    return _various(model="cnn", channels=(3,), hidden_units=(4,), **fields)


def _various(**fields: object) -> list[TrainConfig]:
    rates = (0.003, 0.01, 0.03)
    return [
        config(batch_size=BATCH, **{"learning_rate": rates[i % 3], **fields})
        for i in range(NUM_MEMBERS)
    ]


def _mix(part: str) -> list[TrainConfig]:
    return mixed(part, NUM_MEMBERS, batch_size=BATCH)


CASES: dict[str, tuple[Dataset, list[TrainConfig]]] = {
    **{part: (blobs(), _mix(part)) for part in MIXES},
    **{f"{part}, folds": (folded(), _mix(part)) for part in MIXES},
    "accumulation": (blobs(), _various(accumulation_steps=5, ema_decay=0.9)),
    "watched while measured": (blobs(), _various(accumulation_steps=12)),
    "a batch that grows": (blobs(), _various(lr_schedule="grow_batch", lr_step_size=1)),
    "short epochs": (blobs(), _various(accumulation_steps=20, lr_schedule="one_cycle")),
    "frozen layers": (blobs(), _various(hidden_units=(6, 5), frozen_layers=1)),
    "regression": (line(), _various(loss="huber")),
    "regression, mixup": (line(), _various(mixup=0.5)),
    "images": (images(), _cnn(normalization="batch", rotation=20, flip=0.5)),
}


def _trained(one: TrialGroup, data: DeviceData) -> tuple[list[Report], dict[str, Tensor]]:
    """Its Reports, and the rows of its last checkpoint, [M, ...] by name."""
    reports = list(train(one, data))
    return reports, load_file(reports[-1].checkpoint)


def _group(configs: list[TrainConfig], folder: Path, **fields: object) -> TrialGroup:
    return group(*configs, epochs=3, checkpoint_stem=str(folder / "g"), **fields)


def _numbers(metrics: Iterable[Metric]) -> list[float]:
    return [n for metric in metrics for n in (metric if isinstance(metric, list) else [metric])]


@pytest.mark.parametrize("case", CASES)
def test_blocks_of_any_width_train_as_all_rows_at_once(case: str, tmp_path: Path) -> None:
    dataset, configs = CASES[case]
    data, one = device_data(dataset), _group(configs, tmp_path)
    expected, expected_rows = _trained(one, data)
    assert [report.width for report in expected] == [None] * len(expected)
    for how in ({"width": 1}, {"width": 3}, {"width": 64}, {"measures": True}):
        reports, rows = _trained(replace(one, **how), data)
        assert [report.trials for report in reports] == [report.trials for report in expected]
        for report, other in zip(reports, expected, strict=True):
            assert report.metrics.keys() == other.metrics.keys()
            for name, values in report.metrics.items():
                close = pytest.approx(_numbers(other.metrics[name]), rel=1e-9, nan_ok=True)
                assert _numbers(values) == close, (how, name)
        for name, matrix in rows.items():
            torch.testing.assert_close(matrix, expected_rows[name], rtol=1e-8, atol=1e-10)


def _same(reports: list[Report], others: list[Report]) -> bool:
    """Equal to the last bit; NaN is what is unknown of units, and equals itself."""
    return [(r.trials, str(r.metrics), r.stopped, r.diverged) for r in reports] == [
        (r.trials, str(r.metrics), r.stopped, r.diverged) for r in others
    ]


@pytest.mark.parametrize("dataset", [blobs, folded], ids=["split", "folds"])
@pytest.mark.parametrize("part", MIXES)
def test_a_group_that_measured_repeats_itself_with_the_width_that_it_chose(
    part: str, dataset: object, tmp_path: Path
) -> None:
    data, one = device_data(dataset()), _group(_mix(part), tmp_path, measures=True)
    first, first_rows = _trained(one, data)
    again, rows = _trained(replace(one, width=first[0].width), data)
    assert _same(first, again)
    assert all(torch.equal(rows[name], first_rows[name]) for name in rows)


@pytest.mark.parametrize("dataset", [blobs, folded], ids=["split", "folds"])
@pytest.mark.parametrize("part", MIXES)
def test_blocks_go_on_from_a_checkpoint_to_the_last_bit(
    part: str, dataset: object, tmp_path: Path
) -> None:
    data = device_data(dataset())
    whole = replace(_group(_mix(part), tmp_path, width=3), checkpoint_every=1)
    uninterrupted, rows = _trained(whole, data)
    second, second_rows = _trained(_going_on(whole, uninterrupted[0]), data)
    assert _same(second, uninterrupted[1:])
    assert all(torch.equal(rows[name], second_rows[name]) for name in rows)


def _going_on(whole: TrialGroup, at: Report) -> TrialGroup:
    """What is left of a group after ``at``."""
    members = tuple(
        replace(member, resume=CheckpointSlice(file=at.checkpoint, row=at.trials.index(i)))
        for i, member in enumerate(whole.members)
        if i in at.trials and i not in at.stopped
    )
    return replace(whole, members=members, start_epoch=at.epoch)


def test_a_group_may_measure_in_an_epoch_that_is_not_its_first(tmp_path: Path) -> None:
    data, one = device_data(), _group(_mix("hard"), tmp_path)
    whole, whole_rows = _trained(replace(one, checkpoint_every=1), data)
    going_on = replace(_going_on(one, whole[0]), measures=True)
    reports, rows = _trained(going_on, data)
    assert [bool(report.speeds) for report in reports] == [True, False]
    torch.testing.assert_close(rows["weights"], whole_rows["weights"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_member_that_diverges_leaves_the_blocks_of_the_others_even(width: int) -> None:
    healthy = _various()
    wild = config(batch_size=BATCH, optimizer="sgd", learning_rate=1e200)
    data = device_data()
    alone = list(train(group(*healthy, epochs=3), data))
    company = group(*healthy[:4], wild, *healthy[4:], epochs=3, width=width)
    reports = list(train(company, data))
    assert [end.trial for end in reports[0].diverged] == [4]
    assert 4 not in reports[1].trials
    for report, other in zip(reports, alone, strict=True):
        assert report.metrics["val_loss"][:4] == pytest.approx(other.metrics["val_loss"][:4])
    training = GroupTraining(company, data)
    training.train_epoch(0)
    training.stack.drop({4})
    sizes = [len(block) for _, block in training.stack.blocks(width)]
    assert sum(sizes) == len(healthy)
    assert max(sizes) - min(sizes) <= 1
    assert all(block.updates == 14 for _, block in training.stack.blocks(width))


def test_what_a_group_measures_it_reports_once_and_goes_on_with() -> None:
    one = group(*_various(), epochs=2, measures=True)
    first, second = train(one, device_data())
    assert [speed.width for speed in first.speeds] == [1, 4, 6]
    assert all(speed.seconds > 0 and speed.bytes >= 0 for speed in first.speeds)
    assert first.width == widths.chosen(first.speeds, 11, most=11)
    assert (second.speeds, second.width) == ((), None)


def test_a_width_that_is_given_is_kept_though_others_are_measured() -> None:
    first, _ = train(group(*_various(), epochs=2, measures=True, width=3), device_data())
    assert [speed.width for speed in first.speeds] == [1, 4, 6]
    assert first.width == 3


def test_a_single_row_measures_itself() -> None:
    (report,) = train(group(config(), epochs=1, measures=True), device_data())
    assert [speed.width for speed in report.speeds] == [1]
    assert report.width == 1


@pytest.mark.parametrize("measures", [False, True])
def test_rows_in_blocks_have_the_updates_of_an_epoch(measures: bool) -> None:
    training = GroupTraining(group(*_various(), width=2, measures=measures), device_data())
    for epoch in range(3):
        training.train_epoch(epoch)
        assert training.stack.updates == 14 * (epoch + 1)


def test_no_block_is_wider_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    training = GroupTraining(group(*_various(), width=4), device_data())
    seen = []
    forward = type(training.stack.model).forward
    monkeypatch.setattr(
        type(training.stack.model),
        "forward",
        lambda self, given, x: seen.append(len(given.columns)) or forward(self, given, x),
    )
    training.evaluate()
    assert seen == [3, 4, 4]


def test_an_epochs_order_is_drawn_once_for_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setitem(
        sampling.ORDERS,
        "shuffled",
        lambda targets_N, keyed: drawn.append(1) or sampling.shuffled(targets_N, keyed),
    )
    for _ in train(group(*_various(), epochs=3, width=1, measures=True), device_data()):
        pass
    assert len(drawn) == 3
