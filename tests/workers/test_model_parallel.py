"""A group on several devices that part layers, and examples too, against the same on one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parallel_cases import CASES, alone, assert_alike
from ranks import Ranks, ranks, trained
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from training_cases import blobs, config, device_data, group, images, mixed

from workers.config.parallel import FORMS, grid
from workers.data import DataConfig, Dataset, load
from workers.messages import CheckpointSlice, Report, TrialGroup
from workers.training.feed import Feed
from workers.training.group_training import GroupTraining
from workers.training.models.base import ParameterSpec
from workers.training.models.own import OwnModel
from workers.training.parallel import Devices, Mesh
from workers.training.parallel.joined import Joined
from workers.training.parallel.pretended import on_pretended
from workers.training.shares import Shares

Grid = tuple[int, int]
MODEL_2, MODEL_3, HYBRID = (1, 2), (1, 3), (2, 2)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with ranks(tmp_path_factory.mktemp("ranks")) as made:
        yield made


@pytest.mark.parametrize("grid", [MODEL_2, MODEL_3, HYBRID])
@pytest.mark.parametrize("case", CASES)
def test_devices_that_part_layers_report_what_one_does(team: Ranks, case: str, grid: Grid) -> None:
    dataset, configs = CASES[case]
    one = group(*configs, epochs=3)
    for found in team.call_grid(grid, trained, one, dataset):
        assert_alike(found, alone(one, dataset))


@pytest.mark.parametrize("norm", ["weight", "layer", "group"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_normalizations_do_too(team: Ranks, model: str, norm: str) -> None:
    fields = {"channels": (4,), "hidden_units": (6,)} if model == "cnn" else {}
    one = group(*[config(model=model, normalization=norm, norm_groups=2, **fields)] * 2, epochs=2)
    dataset = images() if model == "cnn" else blobs()
    for found in team.call_grid(MODEL_3, trained, one, dataset):
        assert_alike(found, alone(one, dataset))


# The layers that devices part: not the attention's projections, which its own code reads, nor an
# embedding bag; a layer in two places is called in both.
OWN: dict[str, tuple[Dataset, set[str]]] = {
    "Attention": (blobs(), {"encoder.layers.0.linear1", "encoder.layers.0.linear2", "head"}),
    "Residual": (images(), {"start", "conv", "head"}),
    "Recurrent": (blobs(), {"head"}),
    "TextClassifier": (blobs(), {"head"}),
    "Shared": (blobs(num_features=4), {"layers.0"}),
    "Tied": (blobs(num_features=4), set()),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of transformers
@pytest.mark.parametrize("name", OWN)
def test_networks_of_ones_own_part_the_layers_that_can_be(team: Ranks, name: str) -> None:
    dataset, parted = OWN[name]
    one = group(*[config(model=f"own_nets:{name}")] * 2, epochs=2)
    model = GroupTraining(one, device_data(dataset)).stack.model
    assert {s.name.rpartition(".")[0] for s in model.parameters if s.by_unit} == parted
    for found in team.call_grid(MODEL_2, trained, one, dataset) if parted else []:
        assert_alike(found, alone(one, dataset), 1e-6)


@pytest.mark.parametrize("fields", [{}, {"activation": "prelu", "normalization": "layer"}])
def test_each_device_holds_its_units_alone(team: Ranks, fields: dict[str, object]) -> None:
    """Of 9 hidden units and 4 outputs: 4 and 2, 5 and 2; all else is everywhere."""
    one = group(config(hidden_units=(9,), **fields))
    first, second = team.call_grid(MODEL_2, _shapes, one, blobs())
    assert (first["0.weight"], second["0.weight"]) == ((4, 12), (5, 12))
    assert (first["1.weight"], second["1.weight"]) == ((2, 9), (2, 9))
    assert all(shapes["0.gain"] == (9,) for shapes in (first, second) if "0.gain" in shapes)
    for name, shape in _shapes(Mesh(), one, blobs()).items():
        if "weight" not in name and "bias" not in name:
            assert first[name] == second[name] == shape


def _shapes(mesh: Mesh, one: TrialGroup, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    stack = GroupTraining(one, device_data(dataset), None, mesh).stack
    return {name: tuple(tensor.shape[1:]) for name, tensor in stack.weights.items()}


def test_one_network_learns_as_tensor_parallel_has_it(team: Ranks) -> None:
    """The oracle is PyTorch's own: columns parallel, outputs on all devices."""
    one = group(config(hidden_units=(8,), batch_size=16, optimizer="momentum", learning_rate=0.05))
    mine = team.call_grid(MODEL_2, _all_weights, one, blobs())
    for weights, theirs in zip(mine, team.call_grid(MODEL_2, _by_torch, one, blobs()), strict=True):
        torch.testing.assert_close(weights, theirs, rtol=1e-10, atol=1e-12)


def _all_weights(mesh: Mesh, one: TrialGroup, dataset: Dataset) -> Tensor:
    """The weights [P] of the whole network after an epoch."""
    training = GroupTraining(one, device_data(dataset), None, mesh)
    training.train_epoch(0)
    return training.stack.all_rows()["weights"][0]


def _by_torch(mesh: Mesh, one: TrialGroup, dataset: Dataset) -> Tensor:
    """The same by torch.distributed.tensor.parallel and torch.optim."""
    data, c = device_data(dataset), one.members[0].config
    start = GroupTraining(one, data).stack
    net = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4)).double()
    for mine, theirs in zip(start.weights.values(), net.parameters(), strict=True):
        theirs.data.copy_(mine[0])
    assert isinstance(mesh.model, Joined)
    line = DeviceMesh.from_group(mesh.model.process_group, "cpu")
    plan = {name: ColwiseParallel(output_layouts=Replicate()) for name in ("0", "2")}
    parallelize_module(net, line, plan)
    optimizer = torch.optim.SGD(net.parameters(), c.learning_rate, momentum=c.momentum)
    for batch in Feed(data, one.order_seed).minibatches(start.columns, 0, torch.float64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(batch.x_mBF[0]), batch.y_mB[0]).backward()
        optimizer.step()
    whole = [tensor.full_tensor().detach().flatten() for tensor in net.parameters()]
    return torch.cat(whole)


@pytest.mark.parametrize("then", [(1, 1), MODEL_2, MODEL_3, (2, 1), HYBRID])
@pytest.mark.parametrize("first", [(1, 1), MODEL_2, HYBRID])
def test_a_group_goes_on_from_its_checkpoint_however_devices_part_it(
    team: Ranks, tmp_path: Path, first: Grid, then: Grid
) -> None:
    whole = group(*mixed("optimizers"), epochs=4, checkpoint_stem=str(tmp_path / "g"))
    expected = alone(replace(whole, checkpoint_stem=None), blobs())
    reports = _on(team, first, replace(whole, end_epoch=2, budgets=(4,)))
    assert [path.name for path in tmp_path.iterdir()] == ["g-2.safetensors"]
    members = tuple(
        replace(member, resume=CheckpointSlice(file=str(tmp_path / "g-2.safetensors"), row=row))
        for row, member in enumerate(whole.members)
    )
    reports += _on(team, then, replace(whole, members=members, start_epoch=2))
    assert_alike([replace(report, checkpoint=None) for report in reports], expected)


def _on(team: Ranks, grid: Grid, one: TrialGroup) -> list[Report]:
    return alone(one, blobs()) if grid == (1, 1) else team.call_grid(grid, trained, one, blobs())[0]


def test_a_warm_start_gives_each_device_its_units(team: Ranks, tmp_path: Path) -> None:
    source = group(config(hidden_units=(9,)), epochs=1, checkpoint_stem=str(tmp_path / "g"))
    alone(source, blobs())
    start = CheckpointSlice(file=str(tmp_path / "g-1.safetensors"), row=0)
    (member,) = group(config(hidden_units=(9,)), epochs=2).members
    one = replace(group(member.config, epochs=2), members=(replace(member, warm_start=start),))
    for found in team.call_grid(MODEL_2, trained, one, blobs()):
        assert_alike(found, alone(one, blobs()))


def test_a_member_that_diverges_ends_on_all_devices(team: Ranks) -> None:
    one = group(config(), config(optimizer="sgd", learning_rate=1e200), epochs=3)
    for reports in team.call_grid(MODEL_3, trained, one, blobs()):
        assert [d.trial for report in reports for d in report.diverged] == [1]
        assert [report.trials for report in reports] == [(0,)] * 3


def test_a_weight_that_is_not_finite_is_seen_wherever_it_lies(team: Ranks) -> None:
    one = group(config(hidden_units=(9,)), config(hidden_units=(9,)), epochs=1)
    for rank in (0, 1):
        for states in team.call_grid(MODEL_2, _states_with_infinity_on, rank, one, blobs()):
            assert states == [0, 2]


def _states_with_infinity_on(mesh: Mesh, rank: int, one: TrialGroup, data: Dataset) -> list[int]:
    from workers.training import divergence

    stack = GroupTraining(one, device_data(data), None, mesh).stack
    if mesh.model.rank == rank:
        stack.weights["0.weight"][1, -1, -1] = torch.inf
    fine = {name: torch.ones(2, dtype=torch.float64) for name in ("train_loss", "val_loss")}
    return divergence.watch(stack, fine).tolist()


@pytest.mark.parametrize(
    "fields",
    [{"loss": "own_losses:focal"}, {}],
    ids=["a loss of one's own", "examples that are streamed"],
)
def test_what_asks_for_all_examples_at_once_goes_with_parts_of_layers(
    team: Ranks, fields: dict[str, object]
) -> None:
    source = DataConfig(source="streamed_data:blobs", stream=not fields)
    one, dataset = group(config(**fields), config(**fields), epochs=2), load(source, seed=0)
    expected = alone(one, dataset)
    assert not expected[0].refused
    for found in team.call_grid(MODEL_2, trained, one, dataset):
        assert_alike(found, expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "logistic_regression"},
            "model must have a layer of 4 units or more, which so many devices part, but the "
            "widest such layer has 3; part minibatches instead (parallel: data)",
        ),
        (
            {"model": "own_nets:PastTheCall"},
            "model must read the weights of a layer by its call alone, for devices part its units, "
            "but it reads the weights of head past its call; part minibatches instead (parallel: "
            "data)",
        ),
    ],
    ids=["few units", "weights that are read elsewhere"],
)
def test_a_network_without_layers_to_part_is_refused_in_a_sentence(
    team: Ranks, fields: dict[str, object], message: str
) -> None:
    dataset = blobs(num_classes=3)
    for reports in team.call_grid((1, 4), trained, group(config(**fields), epochs=1), dataset):
        assert [r.message for report in reports for r in report.refused] == [message]


@given(num=st.integers(1, 1024), form=st.sampled_from(FORMS))
def test_a_grid_has_all_devices(num: int, form: str) -> None:
    data, model = grid(num, form)
    assert data * model == num
    assert form == "hybrid" or (data, model) == {"data": (num, 1), "model": (1, num)}[form]
    assert form != "hybrid" or data >= model


@given(data=st.data(), num=st.integers(2, 5), rows=st.integers(1, 3))
def test_the_shares_of_all_devices_are_a_whole_row(
    data: st.DataObject, num: int, rows: int
) -> None:
    specs = [
        ParameterSpec(name=str(i), shape=shape, layer=0, kind="weight", by_unit=by_unit)
        for i, (shape, by_unit) in enumerate(data.draw(st.lists(_TENSORS, min_size=1, max_size=4)))
    ]
    shares = [Shares(specs, _Line(num, rank)) for rank in range(num)]
    whole_MP = torch.randn(rows, shares[0].num_columns)
    parts = [each.device_columns(whole_MP) for each in shares]
    for one, part in zip(shares, parts, strict=True):
        assert part.shape == (rows, one.slices[-1].stop)
    counted = sum(
        part[:, place].sum(1)
        for one, part in zip(shares, parts, strict=True)
        for _, place in one.counted()
    )
    torch.testing.assert_close(counted, whole_MP.sum(1), rtol=1e-4, atol=1e-4)


_TENSORS = st.tuples(st.lists(st.integers(1, 7), max_size=3).map(tuple), st.booleans()).map(
    lambda drawn: (drawn[0], drawn[1] and bool(drawn[0]))
)


class _Line:
    """Devices that are only counted."""

    def __init__(self, num: int, rank: int) -> None:
        self.num, self.rank = num, rank


# Networks whose layers cannot be parted, each for its reason; see ``own_nets``.
REFUSED = {
    "ShapeRead": "reads the weights of fc past its call",
    "MaxNorm": "reads the weights of fc past its call",
    "CalledPast": "two devices with some of its units each do not give what one",
    "CalledWhole": "with some of its units it raises RuntimeError",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_parted_is_found_out_before_it_is(name: str) -> None:
    model = GroupTraining(group(config(model=f"own_nets:{name}")), device_data()).stack.model
    assert isinstance(model, OwnModel)
    assert REFUSED[name] in str(model.refuses_split)


@pytest.mark.parametrize("name", ["Hooked", "Forwarded"])
def test_layers_that_are_not_as_their_class_has_them_stay_whole(team: Ranks, name: str) -> None:
    one = group(*[config(model=f"own_nets:{name}")] * 2, epochs=2)
    model = GroupTraining(one, device_data()).stack.model
    assert {s.name for s in model.parameters if s.by_unit} == {"head.weight", "head.bias"}
    for found in team.call_grid(MODEL_2, trained, one, blobs()):
        assert_alike(found, alone(one, blobs()), 1e-6)


def test_layers_may_be_called_by_keyword(team: Ranks) -> None:
    one = group(*[config(model="own_nets:Keyword")] * 2, epochs=2)
    for found in team.call_grid(MODEL_2, trained, one, blobs()):
        assert_alike(found, alone(one, blobs()))


def test_what_devices_part_is_told_once(team: Ranks) -> None:
    first, second = team.call_grid(MODEL_2, trained, group(config(), epochs=2), blobs())[0]
    assert first.note == "2 devices part 2 of 2 layers, 100% of the parameters"
    assert not second.note


def test_pretended_devices_collect_add_up_and_end_together() -> None:
    def called(devices: Devices) -> tuple[list[Tensor], Tensor, Tensor]:
        total = torch.tensor([1.0 + devices.rank])
        devices.add_up(total)
        mine = torch.tensor([devices.rank])
        return devices.collected(mine), total, devices.agreed(mine)

    for collected, total, agreed in on_pretended(3, called):
        assert torch.cat(collected).tolist() == [0, 1, 2]
        assert (total.tolist(), agreed.tolist()) == ([6.0], [0])

    def fails(devices: Devices) -> None:
        if devices.rank == 1:
            raise ValueError("mine")
        devices.agreed(torch.zeros(1))

    with pytest.raises(ValueError, match="mine"):
        on_pretended(2, fails)
