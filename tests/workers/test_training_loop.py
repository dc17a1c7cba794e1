"""The loop over M members against a plain PyTorch loop, at other widths, and resumed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from training_cases import blobs, config, device_data, group

from workers.config import TrainConfig
from workers.messages import CheckpointSlice, Member, Report, TrialGroup
from workers.training.checkpoints import CheckpointError
from workers.training.columns import Columns
from workers.training.feed import DeviceData, Feed
from workers.training.group_training import GroupTraining
from workers.training.loop import train

CURVES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate")


def _curves(reports: list[Report], trial: int) -> dict[str, list[float]]:
    rows = [(r, r.trials.index(trial)) for r in reports if trial in r.trials]
    return {name: [report.metrics[name][row] for report, row in rows] for name in CURVES}


def _varied(index: int, precision: str = "float64") -> TrainConfig:
    """Configurations that differ in everything that members of a group may differ in."""
    return config(
        precision=precision,
        optimizer=["momentum", "adam", "sgd", "rmsprop"][index % 4],
        learning_rate=0.003 * (1 + index % 5),
        dropout=[0.0, 0.3, 0.5][index % 3],
        weight_decay=0.001 * (index % 2),
        lr_schedule=["constant", "exponential", "inverse_time"][index % 3],
        initialization=["kaiming_normal", "xavier_uniform"][index % 2],
    )


def _alone(one: TrialGroup, index: int) -> TrialGroup:
    return replace(one, members=(one.members[index],))


def _minibatches(
    c: TrainConfig, data: DeviceData, epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    columns = Columns([c], [0], [0], data.device, torch.float64)
    for batch in Feed(data, order_seed=7).minibatches(columns, epoch, torch.float64):
        yield batch.x_mBF[0], batch.y_mB[0]


def _plain_loop(c: TrainConfig, data: DeviceData, initial: dict[str, torch.Tensor]) -> list[float]:
    """The training losses of an ordinary PyTorch loop over the same minibatches."""
    net = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)).double()
    names = {"0.weight": "0.weight", "0.bias": "0.bias", "1.weight": "2.weight", "1.bias": "2.bias"}
    net.load_state_dict({names[name]: value for name, value in initial.items()})
    optimizer = torch.optim.Adam(net.parameters(), lr=c.learning_rate)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=c.lr_decay)
    losses = []
    for epoch in range(4):
        total = 0.0
        for x, y in _minibatches(c, data, epoch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        scheduler.step()
        losses.append(total / data.num_train)
    return losses


def test_a_group_of_one_equals_a_plain_pytorch_loop() -> None:
    c = config(optimizer="adam", learning_rate=0.01, lr_schedule="exponential", lr_decay=0.7)
    data, one = device_data(), group(c)
    initial = {
        name: view[0].clone()
        for name, view in GroupTraining(one, data).stack.views("weights").items()
    }
    reports = list(train(one, data))
    assert _curves(reports, 0)["train_loss"] == pytest.approx(
        _plain_loop(c, data, initial), rel=1e-10
    )


def test_validation_metrics_equal_a_plain_evaluation() -> None:
    data, one = device_data(), group(config(), epochs=1)
    reports = list(train(one, data))
    training = GroupTraining(one, data)
    training.train_epoch(0)
    leaves = training.stack.views("weights")
    dataset = blobs()
    x = torch.tensor(dataset.inputs(dataset.x_validation)).double()
    y = torch.tensor(dataset.y_validation)
    hidden = torch.relu(x @ leaves["0.weight"][0].T + leaves["0.bias"][0])
    logits = hidden @ leaves["1.weight"][0].T + leaves["1.bias"][0]
    curves = _curves(reports, 0)
    assert curves["val_loss"] == pytest.approx([nn.functional.cross_entropy(logits, y).item()])
    assert curves["val_accuracy"] == [(logits.argmax(1) == y).double().mean().item()]
    assert training.evaluate()["val_loss"].tolist() == pytest.approx(curves["val_loss"])


@pytest.mark.parametrize("width", [7, 64])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-9), ("float32", 2e-4)])
def test_a_members_curve_is_the_same_alone_and_in_a_group(
    width: int, precision: str, tolerance: float
) -> None:
    data = device_data()
    whole = group(*(_varied(i, precision) for i in range(width)))
    together = list(train(whole, data))
    for index in range(0, width, max(1, width // 8)):
        alone = _curves(list(train(_alone(whole, index), data)), index)
        for name in ("train_loss", "val_loss"):
            assert _curves(together, index)[name] == pytest.approx(alone[name], rel=tolerance)


def test_a_diverging_member_ends_and_does_not_disturb_its_neighbours() -> None:
    data = device_data()
    healthy = [_varied(i) for i in range(4)]
    wild = config(optimizer="sgd", learning_rate=1e200)
    with_wild = list(train(group(*healthy[:2], wild, *healthy[2:]), data))
    ended = [end for report in with_wild for end in report.diverged]
    assert [end.trial for end in ended] == [2]
    assert ended[0].epoch == 1
    assert (
        "not finite" in ended[0].message or "nan" in ended[0].message or "inf" in ended[0].message
    )
    assert all(2 not in report.trials for report in with_wild)
    for index, trial in enumerate([0, 1, 3, 4]):
        member = Member(trial=trial, seed=100 + trial, config=healthy[index])
        alone = list(train(replace(group(healthy[index]), members=(member,)), data))
        expected = _curves(alone, trial)["train_loss"]
        assert _curves(with_wild, trial)["train_loss"] == pytest.approx(expected, rel=1e-9)


def test_a_loss_that_stays_far_above_chance_is_divergence() -> None:
    c = config(initialization="normal", init_scale=300.0, optimizer="sgd", learning_rate=1e-12)
    reports = list(train(group(c, epochs=6), device_data()))
    assert [len(report.diverged) for report in reports] == [0, 0, 1]
    assert "10 times that of guessing" in reports[-1].diverged[0].message
    assert math.isfinite(reports[-1].diverged[0].metrics["train_loss"])


def test_a_group_without_members_left_ends_early() -> None:
    reports = list(train(group(config(optimizer="sgd", learning_rate=1e200)), device_data()))
    assert len(reports) == 1
    assert reports[0].trials == ()


def test_stopped_and_resumed_equals_not_stopped(tmp_path: Path) -> None:
    data = device_data()
    whole = group(*(_varied(i) for i in range(6)), epochs=5, checkpoint_stem=str(tmp_path / "a"))
    uninterrupted = list(train(whole, data))
    first = list(train(replace(whole, end_epoch=2), data))
    file = first[-1].checkpoint
    rows = {trial: row for row, trial in enumerate(first[-1].trials)}
    members = tuple(
        replace(member, resume=CheckpointSlice(file=file, row=rows[member.trial]))
        for member in whole.members
    )
    second = list(train(replace(whole, members=members, start_epoch=2), data))
    for trial in range(6):
        assert _curves(first + second, trial) == _curves(uninterrupted, trial)


def test_a_member_may_go_on_in_another_group(tmp_path: Path) -> None:
    data = device_data()
    whole = group(*(_varied(i) for i in range(6)), epochs=5, checkpoint_stem=str(tmp_path / "a"))
    uninterrupted = list(train(whole, data))
    first = list(train(replace(whole, end_epoch=2), data))
    row = first[-1].trials.index(5)
    member = replace(whole.members[5], resume=CheckpointSlice(file=first[-1].checkpoint, row=row))
    second = list(train(replace(whole, members=(member,), start_epoch=2), data))
    expected = _curves(uninterrupted, 5)["val_loss"][2:]
    assert _curves(second, 5)["val_loss"] == pytest.approx(expected, rel=1e-9)


def test_checkpoints_are_written_when_due_and_leave_no_temporary_file(tmp_path: Path) -> None:
    stem = str(tmp_path / "deep" / "g")
    reports = list(
        train(group(config(), epochs=5, checkpoint_stem=stem, checkpoint_every=2), device_data())
    )
    assert [r.checkpoint and Path(r.checkpoint).name for r in reports] == [
        None,
        "g-2.safetensors",
        None,
        "g-4.safetensors",
        "g-5.safetensors",
    ]
    assert {path.suffix for path in (tmp_path / "deep").iterdir()} == {".safetensors"}


@pytest.mark.parametrize("damage", ["missing", "truncated", "other epoch", "not named"])
def test_a_bad_checkpoint_is_refused_with_its_name(tmp_path: Path, damage: str) -> None:
    data = device_data()
    one = group(config(), epochs=2, checkpoint_stem=str(tmp_path / "g"))
    file = Path(list(train(one, data))[-1].checkpoint)
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:100])
    start = 1 if damage == "other epoch" else 2
    resume = None if damage == "not named" else CheckpointSlice(file=str(file), row=0)
    member = replace(one.members[0], resume=resume)
    with pytest.raises(CheckpointError, match="g-2" if resume else "names no checkpoint"):
        list(train(replace(one, members=(member,), start_epoch=start, end_epoch=4), data))


def test_members_with_the_same_batch_size_see_the_same_minibatches() -> None:
    data = device_data()
    first = [y.tolist() for _, y in _minibatches(config(), data, 3)]
    again = [y.tolist() for _, y in _minibatches(config(dropout=0.5, depth=3), data, 3)]
    other = [y.tolist() for _, y in _minibatches(config(), data, 4)]
    assert first == again != other
    assert [len(y) for y in first] == [16, 16, 16, 16, 6]


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    data = device_data()
    one = group(config(dropout=0.5))
    torch.manual_seed(1)
    first = list(train(one, data))
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = list(train(one, data))
    assert _curves(first, 0) == _curves(second, 0)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
