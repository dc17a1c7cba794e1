"""Networks of a user's own train, stacked, as they do alone, and as a plain PyTorch loop trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import own_nets
import pytest
import torch
from own_nets import Residual, Shared, Tied
from torch import nn
from torch.nn import functional as F
from training_cases import CPU, blobs, config, group, images

from workers.config import TrainConfig
from workers.config.combination import ConfigError
from workers.data import Dataset
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.loop import train
from workers.training.models import build_model
from workers.training.models.own_layers import plain_layers

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of transformers
NETS: dict[str, Dataset] = {
    "Perceptron": blobs(),
    "Residual": images(),
    "Attention": blobs(),
    "Recurrent": blobs(),
    "TextClassifier": blobs(),
    "DropsTwice": blobs(),
    "Lazy": blobs(),
    "Frozen": blobs(),
    "Centred": blobs(),
    "Shared": blobs(num_features=4),
    "Tied": blobs(num_features=4),
}


def own(name: str, **values: Any) -> TrainConfig:
    given = {"batch_size": 16, "precision": "float64", **values}
    return TrainConfig.of({"model": f"own_nets:{name}", **given})


@pytest.mark.parametrize("name", NETS)
def test_a_member_trains_in_company_as_alone(name: str) -> None:
    data = DeviceData(NETS[name], CPU)
    members = [own(name), own(name, learning_rate=0.05), own(name, optimizer="adam")]
    together = list(train(group(*members), data))
    for trial in range(3):
        one = group(*members)
        one = replace(one, members=(one.members[trial],))
        for report, alone in zip(together, train(one, data), strict=True):
            (row,) = (i for i, t in enumerate(report.trials) if t == trial)
            for metric in ("train_loss", "val_loss", "val_accuracy"):
                expected = alone.metrics[metric][0]
                assert report.metrics[metric][row] == pytest.approx(expected, rel=1e-9), metric


@pytest.mark.parametrize("make", [Residual, Shared, Tied])
def test_a_group_trains_as_a_plain_loop_does(make: Callable[[], nn.Module]) -> None:
    """With batch normalization's running statistics, by torch.optim, on the same minibatches."""
    dataset = NETS[make.__name__]
    data, shape = DeviceData(dataset, CPU), dataset.x_train.shape[1:]
    learned = own(make.__name__, learning_rate=0.1, optimizer="sgd")
    stacked = GroupTraining(group(learned, learned), data)
    batches = list(stacked._feed.minibatches(stacked.stack.columns, 0, torch.float64))
    net = make().double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(stacked.stack.weights[name][1])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    stacked.train_epoch(0)
    for batch in batches:
        optimizer.zero_grad()
        F.cross_entropy(net(batch.x_mBF[0].view(-1, *shape)), batch.y_mB[0]).backward()
        optimizer.step()
    for name, tensor in net.named_parameters():
        assert torch.allclose(stacked.stack.weights[name][1], tensor, rtol=1e-8, atol=1e-10), name
    for name, buffer in stacked.stack.buffers.items():
        assert torch.allclose(buffer[1], net.get_buffer(name), rtol=1e-8, atol=1e-10), name


def test_dropout_is_a_trials_own_wherever_it_trains_and_repeats() -> None:
    data, dropped = DeviceData(blobs(), CPU), own("Perceptron", dropout=0.5)
    first, again = (list(train(group(dropped, dropped), data)) for _ in range(2))
    assert repr([r.metrics for r in first]) == repr([r.metrics for r in again])
    losses = first[-1].metrics["train_loss"]
    assert losses[0] != losses[1], "each trial has masks of its own"
    none = list(train(group(own("Perceptron"), own("Perceptron")), data))
    assert none[-1].metrics["train_loss"] != losses


def test_the_share_that_dropout_drops_is_its_rate() -> None:
    model = build_model(own("Perceptron", dropout=0.25, width=50), blobs().shape())
    training = GroupTraining(
        group(own("Perceptron", dropout=0.25, width=50)), DeviceData(blobs(), CPU)
    )
    (drop,) = model._drops.values()
    factors = drop.drawn(training.stack.columns, (0, 0, 0), 400)
    assert factors.shape == (1, 400 * 50)
    assert (factors == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert factors.max().item() == pytest.approx(1 / 0.75)


def test_each_trial_starts_where_its_seed_says_as_the_module_draws_it() -> None:
    training = GroupTraining(group(own("Perceptron"), own("Perceptron")), DeviceData(blobs(), CPU))
    first, second = training.stack.weights["layers.0.weight"]
    bound = 1 / 12**0.5  # nn.Linear's own
    assert not torch.equal(first, second)
    assert first.abs().max() <= bound
    before = torch.random.get_rng_state()
    again = GroupTraining(group(own("Perceptron"), own("Perceptron")), DeviceData(blobs(), CPU))
    assert torch.equal(again.stack.weights["layers.0.weight"][1], second)
    assert torch.equal(torch.random.get_rng_state(), before), "nobody else's numbers are taken"


def test_what_vmap_refuses_is_named_and_trained_row_by_row() -> None:
    assert build_model(own("Residual"), images().shape()).refusal is None
    refusal = build_model(own("Recurrent"), blobs().shape()).refusal
    assert refusal is not None
    assert refusal.startswith("its LSTM lstm cannot be stacked (")
    first, second, *_ = train(group(own("Recurrent"), own("Recurrent")), DeviceData(blobs(), CPU))
    assert first.note == f"model own_nets:Recurrent: {refusal}; its trials go one after the other"
    assert second.note is None


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("forgetful", {}, "draws random numbers of its own in Forgetful"),
        (
            "broken",
            {"size": 5},
            r"take examples of shape \[12\], but that raises RuntimeError",
        ),
        ("broken", {"size": "x"}, "must be built with these arguments, but that raises TypeError"),
        ("nothing", {}, "must be an nn.Module, but is of type int"),
        ("averaging", {}, "must give the same when it is called again with the same numbers"),
        ("Counting", {}, "must give the same when it is called again with the same numbers"),
        ("HiddenRandomness", {}, "must give the same when it is called again with the same"),
        ("ForeignStart", {}, "must draw its weights by torch's random numbers alone"),
        ("Recomputed", {}, "must have the gradients of a row that it is called with"),
        ("Complex", {}, "must have real numbers, but has complex ones"),
        ("Pair", {}, "outputs must be a tensor, but are of type tuple"),
        ("Exits", {}, r"take examples of shape \[12\], but that raises SystemExit: bye"),
        ("Rounded", {}, "must give outputs that its parameters change smoothly"),
        ("Perceptron", {"outputs": 3}, r"must give \[3, 4\] for 3 examples, but gives \[3, 3\]"),
        ("gone", {}, "that Python can import, but own_nets:gone raises AttributeError"),
        ("gone.deeper:x", {}, "that Python can import"),
    ],
)
def test_a_model_that_cannot_be_is_refused_in_a_sentence(
    name: str, values: dict[str, Any], said: str
) -> None:
    bad = own(name, **values)
    if "." in name:
        bad = replace(bad, model=name)
    with pytest.raises(ConfigError, match=said) as refused:
        build_model(bad, blobs().shape())
    assert len(str(refused.value).splitlines()) == 1
    (report,) = train(group(bad), DeviceData(blobs(), CPU))
    assert [refusal.message for refusal in report.refused] == [f"model {refused.value}"]


def test_arguments_part_groups_and_whole_floats_become_integers() -> None:
    narrow, wide = own("Perceptron", width=8.0), own("Perceptron", width=9)
    assert narrow.stacking_key() != wide.stacking_key()
    assert narrow.stacking_key() == own("Perceptron", width=8.0, learning_rate=0.3).stacking_key()
    model = build_model(narrow, blobs().shape())
    assert model.parameters[0].shape == (8, 12)
    assert config(hidden_units=(8,)).arguments == (), "ours has none"


def test_plain_layers_are_seen_and_have_the_gradients_of_any_other_module() -> None:
    data = DeviceData(blobs(), CPU)
    plain, other = own("Perceptron", depth=2), own("Devious", depth=2)
    assert build_model(plain, blobs().shape())._plain is not None
    assert build_model(other, blobs().shape())._plain is None
    for one, two in zip(
        train(group(plain, plain), data), train(group(other, other), data), strict=True
    ):
        assert one.metrics["val_loss"] == pytest.approx(two.metrics["val_loss"], rel=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "Unused",
        "Shared",
        "Skips",
        "Biasless",
        "TwoActivations",
        "Probabilities",
        "Frozen",
        "hooked_chain",
    ],
)
def test_what_is_not_quite_plain_is_not_taken_for_it(name: str) -> None:
    net = getattr(own_nets, name)()
    assert plain_layers(net) is None


def test_a_class_that_is_defined_anew_is_the_one_that_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a notebook, whose cell is run again."""
    monkeypatch.setattr(own_nets, "Cell", own_nets.redefined(outputs=3), raising=False)
    with pytest.raises(ConfigError, match=r"but gives \[3, 3\]"):
        build_model(own("Cell"), blobs().shape())
    monkeypatch.setattr(own_nets, "Cell", own_nets.redefined(outputs=4))
    first = build_model(own("Cell"), blobs().shape())
    monkeypatch.setattr(own_nets, "Cell", own_nets.Residual)
    assert first is not build_model(own("Cell"), images().shape())
    with pytest.raises(ConfigError):
        build_model(own("Cell"), blobs().shape())


def test_each_call_of_a_dropout_has_masks_of_its_own() -> None:
    """In one of two places, of another shape, or of the same."""
    model = build_model(own("DropsTwice", first=6), blobs().shape())
    training = GroupTraining(group(own("DropsTwice", first=6)), DeviceData(blobs(), CPU))
    factors = [drop.drawn(training.stack.columns, (0, 0, 0), 50) for drop in model._drops.values()]
    assert [tensor.shape for tensor in factors] == [(1, 600), (1, 300)]
    first, second = factors[0].view(2, 300)
    assert not torch.equal(first, second)
    everything = build_model(own("DropsTwice", rate=1.0), blobs().shape())
    (none, _) = (drop.drawn(training.stack.columns, (0,), 5) for drop in everything._drops.values())
    assert not none.any()


def test_what_a_module_has_frozen_stays_as_it_was_drawn_and_the_rest_learns() -> None:
    training = GroupTraining(group(own("Frozen"), own("Frozen")), DeviceData(blobs(), CPU))
    before = {
        name: tensor.clone()
        for name, tensor in (training.stack.weights | training.stack.buffers).items()
    }
    training.train_epoch(0)
    after = training.stack.weights | training.stack.buffers
    still = {name for name in after if torch.equal(after[name], before[name])}
    assert still == {"base.weight", "base.bias", "spare.weight", "spare.bias"}
    assert not torch.equal(before["base.weight"][0], before["base.weight"][1])


def test_buffers_are_a_rows_own_however_a_module_changes_them() -> None:
    data = DeviceData(blobs(), CPU)
    training = GroupTraining(group(own("Centred"), own("Centred")), data)
    batches = list(training._feed.minibatches(training.stack.columns, 0, torch.float64))
    training.train_epoch(0)
    net = own_nets.Centred().double()
    for batch in batches:
        net(batch.x_mBF[0])
    for name in ("mean", "factors"):
        for row in training.stack.buffers[name]:
            assert torch.allclose(row, net.get_buffer(name)), name


@pytest.mark.parametrize(("batch_size", "is_refused"), [(23, True), (1, True), (16, False)])
def test_a_minibatch_of_one_that_the_module_does_not_take_is_refused_at_once(
    batch_size: int, is_refused: bool
) -> None:
    """Batch normalization needs two, and a training part of 70 leaves one of batches of 23."""
    (first, *_) = train(group(own("Lazy", batch_size=batch_size)), DeviceData(blobs(), CPU))
    said = [refusal.message for refusal in first.refused]
    assert bool(said) == is_refused
    if is_refused:
        rule = (
            f"must not leave a minibatch of one of the 70 training examples, but got {batch_size}"
        )
        assert said[0].startswith(f"batch_size {rule}; model must take examples of shape [12], but")
    assert build_model(own("Perceptron", batch_size=1), blobs().shape()), "which takes one"


def test_the_layers_of_a_users_own_model_are_frozen_and_slowed() -> None:
    """They are its modules that have parameters, here two."""
    frozen = own("Perceptron", frozen_layers=1)
    training = GroupTraining(group(frozen, frozen), DeviceData(blobs(), CPU))
    before = {name: tensor.clone() for name, tensor in training.stack.weights.items()}
    training.train_epoch(0)
    after = training.stack.weights
    assert torch.equal(after["layers.0.weight"], before["layers.0.weight"])
    assert not torch.equal(after["layers.3.weight"], before["layers.3.weight"])
    assert build_model(own("Perceptron", lr_multipliers=(0.1, 1.0)), blobs().shape())
    for values in ({"frozen_layers": 2}, {"lr_multipliers": (0.1, 0.2, 1.0)}):
        with pytest.raises(ConfigError, match="of the 2 layers"):
            build_model(own("Perceptron", **values), blobs().shape())
