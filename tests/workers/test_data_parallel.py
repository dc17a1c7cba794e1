"""A group on several devices against the same on one: each has a part of every minibatch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from executor_cases import check_plan
from hypothesis import given
from hypothesis import strategies as st
from parallel_cases import CASES, alone, assert_alike
from ranks import Ranks, ranks, trained
from torch import Tensor, nn
from training_cases import (
    CPU,
    blobs,
    config,
    device_data,
    group,
    mixed,
)

from workers.data import DataConfig, Dataset, load
from workers.messages import CheckpointSlice, Report, TrialGroup
from workers.training.checks import check
from workers.training.columns import Columns
from workers.training.feed import Batch, Feed
from workers.training.group_training import GroupTraining
from workers.training.loss import Criterion
from workers.training.parallel import Alone, Mesh, portion_of
from workers.training.parallel.joined import Joined


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with ranks(tmp_path_factory.mktemp("ranks")) as made:
        yield made


@pytest.mark.parametrize("num", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_several_devices_report_what_one_does(team: Ranks, case: str, num: int) -> None:
    dataset, configs = CASES[case]
    one = group(*configs, epochs=3)
    expected = alone(one, dataset)
    assert not expected[0].refused
    for found in team.call(num, trained, one, dataset):
        assert_alike(found, expected)


@pytest.mark.parametrize("num", [2, 4])
@pytest.mark.parametrize("part", ["batch norm", "loss", "optimizers"])
def test_all_devices_hold_the_same_rows(team: Ranks, part: str, num: int) -> None:
    first, *others = team.call(num, _rows_after, group(*mixed(part)), blobs())
    for other in others:
        assert all(torch.equal(other[name], first[name]) for name in first)


def _rows_after(mesh: Mesh, one: TrialGroup, dataset: Dataset) -> dict[str, Tensor]:
    training = GroupTraining(one, device_data(dataset), None, mesh)
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


def _by_torch(mesh: Mesh, one: TrialGroup, dataset: Dataset) -> Tensor:
    """The weights [P] after an epoch of DistributedDataParallel and torch.optim."""
    data, c = device_data(dataset), one.members[0].config
    net = nn.Sequential(nn.Linear(12, 9), nn.LayerNorm(9), nn.ReLU(), nn.Linear(9, 4)).double()
    start = GroupTraining(one, data).stack
    for mine, theirs in zip(start.weights.values(), net.parameters(), strict=True):
        theirs.data.copy_(mine[0])
    assert isinstance(mesh.data, Joined)
    parted = nn.parallel.DistributedDataParallel(net, process_group=mesh.data.process_group)
    optimizer = torch.optim.SGD(net.parameters(), c.learning_rate, momentum=c.momentum)
    for batch in Feed(data, one.order_seed).minibatches(start.columns, 0, torch.float64):
        own = portion_of(len(batch), mesh.data.rank, mesh.data.num).slice
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
    expected = alone(replace(whole, checkpoint_stem=None), blobs())
    begun = replace(whole, end_epoch=2, budgets=(4,))
    reports = _on(team, first, begun)
    assert [path.name for path in tmp_path.iterdir()] == ["g-2.safetensors"]
    members = tuple(
        replace(member, resume=CheckpointSlice(file=str(tmp_path / "g-2.safetensors"), row=row))
        for row, member in enumerate(whole.members)
    )
    reports += _on(team, then, replace(whole, members=members, start_epoch=2))
    assert_alike([replace(report, checkpoint=None) for report in reports], expected)


def _on(team: Ranks, num: int, one: TrialGroup) -> list[Report]:
    return alone(one, blobs()) if num == 1 else team.call(num, trained, one, blobs())[0]


def test_devices_that_measure_go_on_with_the_width_of_the_first(team: Ranks) -> None:
    """Or they would wait for one another in blocks that the others do not have."""
    one = group(*[config(learning_rate=0.001 * (i + 1)) for i in range(30)], measures=True)
    found = team.call(3, trained, one, blobs(num_train=640))
    for reports in found:
        assert reports[0].speeds == found[0][0].speeds
        assert reports[0].width == found[0][0].width
        assert_alike(reports, alone(replace(one, measures=False), blobs(num_train=640)))
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
            "batch_size must have an example for each of the 3 devices that part it, but got 2; "
            "raise it, or use fewer devices",
        ),
        (
            {},
            replace(blobs(), x_validation=blobs().x_validation[:2], y_validation=np.array([0, 1])),
            "data.validation must have an example for each of the 3 devices that part it, but "
            "has 2",
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
            "data.stream examples must fit on each of the devices that part them in 3, but do not; "
            "use one device, to which they are streamed, or part layers (parallel: model)",
        ),
    ],
    ids=["batch_size", "validation", "batch norm", "buffers", "streamed"],
)
def test_what_several_devices_cannot_train_is_refused_in_a_sentence(
    team: Ranks, fields: dict[str, object], dataset: Dataset, message: str
) -> None:
    good = alone(group(config(**fields), epochs=1), dataset)
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
    plan, devices = check_plan(model="own_nets:Lazy"), Alone(num=num_devices)
    found = [
        r
        for r in check(plan, device_data(), Mesh(whole=devices, data=devices))
        if r.name == "configuration"
    ]
    assert {result.verdict for result in found} == verdicts
    assert all("its 1 (BatchNorm1d) reads whole minibatches" in result.text for result in found)
