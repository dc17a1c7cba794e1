"""A group on several devices against the same on one: each has a part of every minibatch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executor_cases import check_plan
from hypothesis import given
from hypothesis import strategies as st
from ranks import Ranks, ranks, trained
from torch import Tensor, nn
from training_cases import (
    CPU,
    MIXES,
    blobs,
    config,
    device_data,
    folded,
    group,
    images,
    line,
    mixed,
)

from workers.data import DataConfig, Dataset, load
from workers.messages import CheckpointSlice, Report, TrialGroup
from workers.training.checks import check
from workers.training.columns import Columns
from workers.training.feed import Batch, Feed
from workers.training.group_training import GroupTraining
from workers.training.loss import Criterion
from workers.training.parallel import ALONE, Devices, portion_of
from workers.training.parallel.data_parallel import DataParallel

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


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with ranks(tmp_path_factory.mktemp("ranks")) as made:
        yield made


def _alone(one: TrialGroup, dataset: Dataset) -> list[Report]:
    return trained(ALONE, one, dataset)


def _assert_alike(found: list[Report], expected: list[Report], tolerance: float = 1e-8) -> None:
    assert [report.epoch for report in found] == [report.epoch for report in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine.trials, mine.stopped) == (theirs.trials, theirs.stopped)
        assert mine.metrics.keys() == theirs.metrics.keys()
        for name, values in theirs.metrics.items():
            torch.testing.assert_close(
                torch.tensor(mine.metrics[name]).double(),
                torch.tensor(values).double(),
                rtol=tolerance,
                atol=tolerance,
                equal_nan=True,
                msg=lambda text, name=name: f"{name}: {text}",
            )


@pytest.mark.parametrize("num", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_several_devices_report_what_one_does(team: Ranks, case: str, num: int) -> None:
    dataset, configs = CASES[case]
    one = group(*configs, epochs=3)
    expected = _alone(one, dataset)
    assert not expected[0].refused
    for found in team.call(num, trained, one, dataset):
        _assert_alike(found, expected)


@pytest.mark.parametrize("num", [2, 4])
@pytest.mark.parametrize("part", ["batch norm", "loss", "optimizers"])
def test_all_devices_hold_the_same_rows(team: Ranks, part: str, num: int) -> None:
    first, *others = team.call(num, _rows_after, group(*mixed(part)), blobs())
    for other in others:
        assert all(torch.equal(other[name], first[name]) for name in first)


def _rows_after(devices: Devices, one: TrialGroup, dataset: Dataset) -> dict[str, Tensor]:
    training = GroupTraining(one, device_data(dataset), None, devices)
    training.train_epoch(0)
    return training.stack.rows


@pytest.mark.parametrize("num", [2, 4])
def test_one_network_learns_as_distributed_data_parallel_has_it(team: Ranks, num: int) -> None:
    """The oracle is PyTorch's own, on minibatches that its even shares can be taken of."""
    c = config(batch_size=16, optimizer="momentum", learning_rate=0.05, normalization="layer")
    one, dataset = group(c), blobs(num_train=64)
    rows = team.call(num, _rows_after, one, dataset)[0]
    for theirs in team.call(num, _by_torch, one, dataset):
        torch.testing.assert_close(rows["weights"][0], theirs, rtol=1e-10, atol=1e-12)


def _by_torch(devices: DataParallel, one: TrialGroup, dataset: Dataset) -> Tensor:
    """The weights [P] after an epoch of DistributedDataParallel and torch.optim."""
    data, c = device_data(dataset), one.members[0].config
    net = nn.Sequential(nn.Linear(12, 9), nn.LayerNorm(9), nn.ReLU(), nn.Linear(9, 4)).double()
    start = GroupTraining(one, data).stack
    for mine, theirs in zip(start.weights.values(), net.parameters(), strict=True):
        theirs.data.copy_(mine[0])
    parted = nn.parallel.DistributedDataParallel(net, process_group=devices.process_group)
    optimizer = torch.optim.SGD(net.parameters(), c.learning_rate, momentum=c.momentum)
    for batch in Feed(data, one.order_seed).minibatches(start.columns, 0, torch.float64):
        own = portion_of(len(batch), devices.rank, devices.num).slice
        optimizer.zero_grad()
        outputs_BC = parted(batch.x_mBF[0, own])
        nn.functional.cross_entropy(outputs_BC, batch.y_mB[0, own]).backward()
        optimizer.step()
    return torch.cat([tensor.detach().flatten() for tensor in net.parameters()])


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("then", [1, 2, 4])
def test_a_group_goes_on_from_its_checkpoint_on_any_number_of_devices(
    team: Ranks, tmp_path: Path, first: int, then: int
) -> None:
    whole = group(*mixed("batch norm"), epochs=4, checkpoint_stem=str(tmp_path / "g"))
    expected = _alone(replace(whole, checkpoint_stem=None), blobs())
    begun = replace(whole, end_epoch=2, budgets=(4,))
    reports = _on(team, first, begun)
    assert [path.name for path in tmp_path.iterdir()] == ["g-2.safetensors"]
    members = tuple(
        replace(member, resume=CheckpointSlice(file=str(tmp_path / "g-2.safetensors"), row=row))
        for row, member in enumerate(whole.members)
    )
    reports += _on(team, then, replace(whole, members=members, start_epoch=2))
    _assert_alike([replace(report, checkpoint=None) for report in reports], expected)


def _on(team: Ranks, num: int, one: TrialGroup) -> list[Report]:
    return _alone(one, blobs()) if num == 1 else team.call(num, trained, one, blobs())[0]


def test_devices_that_measure_go_on_with_the_width_of_the_first(team: Ranks) -> None:
    """Or they would wait for one another in blocks that the others do not have."""
    one = group(*[config(learning_rate=0.001 * (i + 1)) for i in range(30)], measures=True)
    found = team.call(3, trained, one, blobs(num_train=640))
    for reports in found:
        assert reports[0].speeds == found[0][0].speeds
        assert reports[0].width == found[0][0].width
        _assert_alike(reports, _alone(replace(one, measures=False), blobs(num_train=640)))
    assert [speed.width for speed in found[0][0].speeds] == [1, 4, 25]


def test_a_member_that_diverges_ends_on_all_devices(team: Ranks) -> None:
    one = group(config(), config(optimizer="sgd", learning_rate=1e200), epochs=3)
    for reports in team.call(3, trained, one, blobs()):
        assert [d.trial for report in reports for d in report.diverged] == [1]
        assert [report.trials for report in reports] == [(0,)] * 3


@pytest.mark.parametrize(
    ("fields", "dataset", "message"),
    [
        (
            {"batch_size": 2},
            blobs(),
            "batch_size must have an example for each of the 3 devices of a trial, but got 2; "
            "raise it, or use fewer devices",
        ),
        (
            {},
            replace(blobs(), x_validation=blobs().x_validation[:2], y_validation=np.array([0, 1])),
            "data.validation must have an example for each of the 3 devices of a trial, but has 2",
        ),
        (
            {"model": "own_nets:Lazy"},
            blobs(),
            "model must treat each example by itself, for several devices have a part of them "
            "each, but its 1 (BatchNorm1d) reads whole minibatches; use nn.GroupNorm or "
            "nn.LayerNorm, or one device for a trial",
        ),
        (
            {"model": "own_nets:Centred"},
            blobs(),
            "model must treat each example by itself, for several devices have a part of them "
            "each, but it changes mean as it trains; use nn.GroupNorm or nn.LayerNorm, or one "
            "device for a trial",
        ),
        (
            {},
            load(DataConfig(source="streamed_data:blobs", stream=True), seed=0),
            "data.stream examples must fit on each of the 3 devices of a trial, but do not; use "
            "one device, to which they are streamed",
        ),
    ],
    ids=["batch_size", "validation", "batch norm", "buffers", "streamed"],
)
def test_what_several_devices_cannot_train_is_refused_in_a_sentence(
    team: Ranks, fields: dict[str, object], dataset: Dataset, message: str
) -> None:
    good = _alone(group(config(**fields), epochs=1), dataset)
    assert not good[0].refused
    for reports in team.call(3, trained, group(config(**fields), epochs=1), dataset):
        assert [r.message for report in reports for r in report.refused] == [message]


@given(num_examples=st.integers(0, 300), num=st.integers(1, 9))
def test_portions_cover_all_examples_once_and_evenly(num_examples: int, num: int) -> None:
    portions = [portion_of(num_examples, rank, num) for rank in range(num)]
    covered = [place for portion in portions for place in range(num_examples)[portion.slice]]
    assert covered == list(range(num_examples))
    assert max(map(len, portions)) - min(map(len, portions)) <= 1


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "mse", "huber"])
@pytest.mark.parametrize("mixes", [False, True])
def test_the_losses_of_parts_and_their_gradients_add_up(loss: str, mixes: bool) -> None:
    is_numbers = loss in ("mse", "huber")
    draw = torch.Generator().manual_seed(0)
    x_MBC = torch.randn(3, 11, 1 if is_numbers else 4, generator=draw, dtype=torch.float64)
    y = torch.randn(2, 1, 11, generator=draw).double() if is_numbers else None
    y = torch.randint(4, (2, 1, 11), generator=draw) if y is None else y
    batch = Batch(
        x_mBF=torch.zeros(1, 11, 1),
        y_mB=y[0],
        index_mB=torch.arange(11)[None],
        partner_mB=y[1] if mixes else None,
        share_M=torch.tensor([0.2, 0.7, 1.0]) if mixes else None,
    )
    configs = mixed("loss", loss=loss)
    columns = Columns(configs, range(3), [0] * 3, CPU, torch.float64)
    counts = None if is_numbers else torch.tensor([[3, 9, 1, 7]])
    criterion = Criterion(loss, columns, counts)
    loss_M, gradient_MBC = criterion.value_and_grad(x_MBC, batch)
    portions = [portion_of(11, rank, 13) for rank in range(13)]  # so some have none
    parts = [criterion.value_and_grad(p.of(x_MBC, 1), batch.part(p)) for p in portions]
    torch.testing.assert_close(sum(part[0] for part in parts), loss_M)
    torch.testing.assert_close(torch.cat([part[1] for part in parts], 1), gradient_MBC)


@pytest.mark.parametrize(("num_devices", "verdicts"), [(1, set()), (2, {"fail"})])
def test_the_checks_before_a_search_tell_what_several_devices_cannot_train(
    num_devices: int, verdicts: set[str]
) -> None:
    plan = check_plan(model="own_nets:Lazy")
    found = [r for r in check(plan, device_data(), num_devices) if r.name == "configuration"]
    assert {result.verdict for result in found} == verdicts
    assert all("its 1 (BatchNorm1d) reads whole minibatches" in result.text for result in found)
