"""Losses of a user's own train, stacked, as they do alone, and as a plain PyTorch loop trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import own_losses
import pytest
import torch
from torch import nn
from torch.func import vmap
from training_cases import CPU, blobs, config, folded, group, line

from workers.config import TrainConfig
from workers.config.combination import ConfigError
from workers.training import group_training, own_loss
from workers.training.feed import DeviceData
from workers.training.group_training import GroupTraining
from workers.training.loop import train
from workers.training.own_loss import OwnCriterion

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of transformers
LOSSES = ("focal", "smooth_focal", "Smooth", "coupled", "branching", "negative", "ready")
MODELS: dict[str, dict[str, Any]] = {
    "ours": {"hidden_units": (7,)},
    "normalized": {"hidden_units": (7,), "normalization": "layer"},
    "own": {"model": "own_nets:Attention"},
    "one by one": {"model": "own_nets:Recurrent"},
}


def own(loss: str, **values: Any) -> TrainConfig:
    name = loss if ":" in loss else f"own_losses:{loss}"
    given = {"batch_size": 16, "precision": "float64", "learning_rate": 0.1, **values}
    return replace(config(), **given, loss=name)


def plain(name: str) -> Any:
    """What it is without us."""
    found = getattr(own_losses, name)
    return found() if name in ("smooth_focal", "Smooth") else found


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_together_have_the_losses_and_gradients_of_each_alone(loss: str) -> None:
    data, c = DeviceData(blobs(), CPU), own(loss, optimizer="sgd")
    training = GroupTraining(group(c, c, c), data)
    batch = next(training._feed.minibatches(training.stack.columns, 0, torch.float64))
    outputs_MBC = torch.randn(3, 16, 4, dtype=torch.float64, generator=torch.Generator())
    criterion = training._criterion(training.stack)
    assert isinstance(criterion, OwnCriterion)
    with torch.inference_mode():  # as the loop does where gradients are written out
        loss_M, gradient_MBC = criterion.value_and_grad(outputs_MBC, batch)
    of = plain(loss)
    of = of.double() if isinstance(of, nn.Module) else of
    for row in range(3):
        leaf_BC = outputs_MBC[row].clone().requires_grad_()
        expected = of(leaf_BC, batch.y_mB[0])
        expected.backward()
        assert torch.allclose(loss_M[row], expected.detach(), rtol=1e-12)
        assert torch.allclose(gradient_MBC[row], leaf_BC.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", ["focal", "coupled", "branching"])
def test_a_member_trains_in_company_as_alone(loss: str, model: str) -> None:
    data, values = DeviceData(blobs(), CPU), MODELS[model]
    members = [own(loss, **values), own(loss, **values, optimizer="adam"), own(loss, **values)]
    whole = group(*members)
    together = list(train(whole, data))
    for trial in range(3):
        one = replace(whole, members=(whole.members[trial],))
        for report, alone in zip(together, train(one, data), strict=True):
            row = report.trials.index(trial)
            for metric in ("train_loss", "val_loss", "val_accuracy"):
                expected = alone.metrics[metric][0]
                assert report.metrics[metric][row] == pytest.approx(expected, rel=1e-9), metric


@pytest.mark.parametrize("width", [1, 2, None])
@pytest.mark.parametrize("name", ["focal", "coupled", "branching"])
def test_a_group_trains_as_a_plain_loop_does(
    name: str, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the loss of validation is that of all its examples at once, in whatever parts it goes."""
    monkeypatch.setattr(group_training, "_NEAR_THE_CACHE", 100)
    data = DeviceData(blobs(), CPU)
    c = own(name, optimizer="sgd", hidden_units=(7,))
    training = GroupTraining(replace(group(c, c, c), width=width), data)
    batches = list(training._feed.minibatches(training.stack.columns, 0, torch.float64))
    net = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 4)).double()
    _copy(training, net, row=1)
    optimizer, of = torch.optim.SGD(net.parameters(), lr=0.1), plain(name)
    seen, losses = 0, 0.0
    metrics = training.train_epoch(0) | training.evaluate()
    for batch in batches:
        optimizer.zero_grad()
        loss = of(net(batch.x_mBF[0]), batch.y_mB[0])
        loss.backward()
        optimizer.step()
        seen, losses = seen + len(batch), losses + loss.item() * len(batch)
    for ours, theirs in zip(training.stack.weights.values(), net.parameters(), strict=True):
        assert torch.allclose(ours[1], theirs, rtol=1e-8, atol=1e-10)
    assert metrics["train_loss"][1].item() == pytest.approx(losses / seen, rel=1e-9)
    x = torch.as_tensor(blobs().x_validation, dtype=torch.float64)
    expected = of(net(x), torch.as_tensor(blobs().y_validation)).item()
    assert metrics["val_loss"][1].item() == pytest.approx(expected, rel=1e-9)


def _copy(training: GroupTraining, net: nn.Module, row: int) -> None:
    """The row's weights, which have the same order and shapes."""
    with torch.no_grad():
        for ours, theirs in zip(training.stack.weights.values(), net.parameters(), strict=True):
            theirs.copy_(ours[row])


@pytest.mark.parametrize(
    ("loss", "ours"),
    [
        ("torch.nn.functional:cross_entropy", {"loss": "cross_entropy"}),
        ("torch.nn:CrossEntropyLoss", {}),
        ("torch.nn:MultiMarginLoss", {"loss": "hinge"}),
    ],
)
@pytest.mark.parametrize("more", [{}, {"mixup": 0.4}, {"sampling": "hard"}])
def test_torchs_own_losses_train_as_ours(
    loss: str, ours: dict[str, Any], more: dict[str, Any]
) -> None:
    data = DeviceData(blobs(), CPU)
    built_in = replace(own(loss, **more), loss=ours.get("loss"))
    for one, other in zip(
        train(group(own(loss, **more), own(loss, **more)), data),
        train(group(built_in, built_in), data),
        strict=True,
    ):
        for metric in ("train_loss", "val_loss", "val_accuracy"):
            assert one.metrics[metric] == pytest.approx(other.metrics[metric], rel=1e-9), metric


@pytest.mark.parametrize(
    ("loss", "name", "values"),
    [
        ("torch.nn:MSELoss", "mse", {}),
        ("torch.nn.functional:huber_loss", "huber", {"huber_delta": 1.0}),
        ("torch.nn:SmoothL1Loss", "huber", {"huber_delta": 1.0}),
    ],
)
def test_a_regression_hands_over_outputs_shaped_as_its_targets(
    loss: str, name: str, values: dict[str, Any]
) -> None:
    """[B] both: [B, 1] and [B] would make [B, B] of their difference."""
    data = DeviceData(line(), CPU)
    built_in = replace(own(loss, **values), loss=name)
    for one, other in zip(
        train(group(own(loss), own(loss)), data),
        train(group(built_in, built_in), data),
        strict=True,
    ):
        for metric in ("train_loss", "val_loss", "val_r2"):
            assert one.metrics[metric] == pytest.approx(other.metrics[metric], rel=1e-9), metric


def test_it_goes_with_folds_early_stopping_and_float32() -> None:
    data = DeviceData(folded(), CPU)
    patient = own("focal", patience=1, min_delta=10.0, precision="float32")
    reports = list(train(group(patient, replace(patient, patience=None)), data))
    assert [report.stopped for report in reports] == [(), (0,), (), ()]
    assert reports[-1].trials == (1,)
    assert len(reports[-1].metrics["by_fold"][0]) == 3


def test_what_vmap_refuses_is_named_and_computed_row_by_row() -> None:
    data = DeviceData(blobs(), CPU)
    first, second, *_ = train(group(own("branching"), own("branching")), data)
    assert first.note is not None
    assert first.note.startswith(
        "loss own_losses:branching: it cannot be stacked (RuntimeError: vmap: "
    )
    assert first.note.endswith("); it is computed row by row")
    assert second.note is None
    assert next(iter(train(group(own("focal")), data))).note is None


def test_what_vmap_gives_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        own_loss, "vmap", lambda of, in_dims: lambda x, y: vmap(of, in_dims)(x, y) + 1
    )
    (first, *_) = train(group(own("focal"), own("focal")), DeviceData(blobs(), CPU))
    assert first.note is not None
    assert "two rows, stacked, do not give what one gives alone" in first.note


@pytest.mark.parametrize("loss", ["negative", "huge"])
def test_no_size_of_a_loss_is_taken_for_divergence(loss: str) -> None:
    """Nobody knows what guessing costs: ten times -1000 would be far below every loss."""
    *_, last = train(group(own(loss), epochs=5), DeviceData(blobs(), CPU))
    assert last.epoch == 5
    assert not last.diverged


def test_a_loss_that_becomes_infinite_is_a_divergence() -> None:
    reports = list(train(group(own("grows", learning_rate=1e3)), DeviceData(blobs(), CPU)))
    assert [end.trial for report in reports for end in report.diverged] == [0]


BROKEN = {
    "each": r"must give one number for outputs \[16, 4\] and targets \[16\], the mean loss, as a "
    r"tensor, but gives \[16\]",
    "number": "the mean loss, as a tensor, but gives a float",
    "endless": "must be finite at first, but is nan for outputs",
    "deaf": "must depend on the outputs by what PyTorch can differentiate, but its result has no",
    "flat": "must depend on the outputs, but its gradient is 0 everywhere",
    "raises": r"must take outputs \[16, 4\] and targets \[16\], but that raises ValueError: not on "
    "a Saturday$",
    "noisy": "must give the same for the same numbers, but does not; take away",
    "counting": "must give the same for the same numbers, but does not; take away",
    "steep": "must have a finite gradient, but has none for outputs",
    "three": r"must take \(outputs, targets\), but own_losses:three takes \(outputs: ",
    "nothing": "must give a function, but gives a int",
    "Learned": "must have no parameters, for nothing trains them; put them into the model",
    "Needs": "must be built without arguments, but own_losses:Needs needs gamma; name a function",
    "THREE": "must name a class or function, but own_losses:THREE is a int",
    "gone": "must name a class or function that Python can import, but own_losses:gone raises",
    "torch.nn:MSELoss": r"must take outputs \[16, 4\] and targets \[16\], but that raises Runtime",
}


@pytest.mark.parametrize("loss", BROKEN)
def test_what_is_no_loss_is_refused_in_a_sentence(loss: str) -> None:
    bad = own(loss)
    with pytest.raises(ConfigError, match=BROKEN[loss]) as refused:
        GroupTraining(group(bad), DeviceData(blobs(), CPU))
    assert len(str(refused.value).splitlines()) == 1
    (report,) = train(group(bad, bad), DeviceData(blobs(), CPU))
    assert [refusal.message for refusal in report.refused] == [f"loss {refused.value}"] * 2


@pytest.mark.parametrize("values", [{"class_weights": "balanced"}, {"label_smoothing": 0.1}])
def test_what_belongs_to_our_losses_is_not_silently_left_out(values: dict[str, Any]) -> None:
    (report,) = train(group(own("focal", **values)), DeviceData(blobs(), CPU))
    (name,) = values
    assert report.refused[0].message == (
        f"{name} is no part of a loss of one's own; leave it out, or put it in there"
    )


def test_for_the_sampling_of_hard_examples_it_must_take_a_single_one() -> None:
    (report,) = train(group(own("coupled_numbers", sampling="hard")), DeviceData(line(), CPU))
    assert report.refused[0].message.endswith("is nan for outputs [1] and targets [1]")


def test_a_last_minibatch_that_the_loss_cannot_take_is_told_before_training() -> None:
    """The deviation of one output: 80 examples leave one of batches of 79."""
    (report,) = train(group(own("coupled_numbers", batch_size=79)), DeviceData(line(), CPU))
    (refusal,) = report.refused
    assert refusal.message.startswith("loss must be finite at first, but is nan for outputs [1]")
