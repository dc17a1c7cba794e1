"""Losses against torch.nn, row by row; gradients against PyTorch's and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_cases import CPU, config, of_outputs

from workers.config import TrainConfig
from workers.config.learning import CLASS_LOSSES
from workers.config.learning import LOSSES as LOSS_NAMES
from workers.training.columns import Columns
from workers.training.feed.batch import Batch
from workers.training.loss import LOSSES, Criterion, chance_loss, class_weights

M, B, C = 3, 17, 5
COUNTS_KC = torch.tensor([[40, 30, 20, 10, 4], [7, 9, 11, 60, 13]])
ROWS = (  # every number that a loss reads, off in one row and different in the others
    {"label_smoothing": 0.0, "class_weights": "none", "hinge_margin": 1.0, "huber_delta": 1.0},
    {"label_smoothing": 0.1, "class_weights": "balanced", "hinge_margin": 0.4, "huber_delta": 0.3},
    {"label_smoothing": 0.6, "class_weights": "balanced", "hinge_margin": 2.5, "huber_delta": 2.0},
)
FOLDS = (0, 1, 0)


def _columns(*rows: dict[str, object], folds: tuple[int, ...] = FOLDS) -> Columns:
    configs = [config(**row) for row in rows]
    return Columns(configs, range(len(rows)), folds[: len(rows)], CPU, torch.float64)


def _weights(row: int) -> Tensor | None:
    if ROWS[row]["class_weights"] == "none":
        return None
    counts = COUNTS_KC[FOLDS[row]].double()
    return counts.sum() / (C * counts)


def _torch(loss: str, row: int) -> nn.Module:
    c = config(**ROWS[row])
    if loss == "cross_entropy":
        return nn.CrossEntropyLoss(weight=_weights(row), label_smoothing=c.label_smoothing)
    if loss == "hinge":
        return nn.MultiMarginLoss(margin=c.hinge_margin, weight=_weights(row))
    return nn.MSELoss() if loss == "mse" else nn.HuberLoss(delta=c.huber_delta)


def _case(loss: str, own_targets: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [M, B, C] that lie as a model's, and the two targets of a mixup [m, B]."""
    draw = torch.Generator().manual_seed(3)
    outputs = C if loss in CLASS_LOSSES else 1
    x_MBC = torch.randn(M, outputs, B, generator=draw, dtype=torch.float64).mul(2).transpose(1, 2)
    shape = (2, M if own_targets else 1, B)
    if loss in CLASS_LOSSES:
        y, partner = torch.randint(0, C, shape, generator=draw)
    else:
        y, partner = torch.randn(shape, generator=draw, dtype=torch.float64)
    return x_MBC.requires_grad_(), y, partner


def _batch(y_mB: Tensor, partner_mB: Tensor | None = None, share_M: Tensor | None = None) -> Batch:
    return Batch(
        x_mBF=torch.zeros(*y_mB.shape, 1),
        y_mB=y_mB,
        index_mB=torch.arange(B).expand_as(y_mB),
        partner_mB=partner_mB,
        share_M=share_M,
    )


def _expected(loss: str, x_MBC: Tensor, y_mB: Tensor) -> Tensor:
    """Each row's loss by PyTorch's module."""
    y_MB = y_mB.expand(M, B)
    x = x_MBC if loss in CLASS_LOSSES else x_MBC.squeeze(2)
    return torch.stack([_torch(loss, row)(x[row], y_MB[row]) for row in range(M)])


def _assert_same_with_gradient(found_M: Tensor, expected_M: Tensor, x_MBC: Tensor) -> None:
    torch.testing.assert_close(found_M, expected_M, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(loss.sum(), x_MBC)[0] for loss in (found_M, expected_M)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("own_targets", [False, True])
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_each_rows_training_loss_and_its_gradient_equal_torch_nn(
    loss: str, own_targets: bool
) -> None:
    x_MBC, y_mB, _ = _case(loss, own_targets)
    counts = COUNTS_KC if loss in CLASS_LOSSES else None
    found_M = Criterion(loss, _columns(*ROWS), counts).training(x_MBC, _batch(y_mB))
    _assert_same_with_gradient(found_M, _expected(loss, x_MBC, y_mB), x_MBC)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_mixup_is_the_shares_of_the_losses_of_both_targets(loss: str) -> None:
    x_MBC, y_mB, partner_mB = _case(loss, own_targets=False)
    share_M = torch.tensor([1.0, 0.3, 0.85], dtype=torch.float64)
    counts = COUNTS_KC if loss in CLASS_LOSSES else None
    batch = _batch(y_mB, partner_mB, share_M)
    found_M = Criterion(loss, _columns(*ROWS), counts).training(x_MBC, batch)
    first_M, second_M = _expected(loss, x_MBC, y_mB), _expected(loss, x_MBC, partner_mB)
    _assert_same_with_gradient(found_M, share_M * first_M + (1 - share_M) * second_M, x_MBC)


@pytest.mark.parametrize("fields", [{}, {"label_smoothing": 0.2}, {"class_weights": "balanced"}])
def test_one_part_alone_equals_torch(fields: dict[str, object]) -> None:
    x_MBC, y_mB, _ = _case("cross_entropy", own_targets=False)
    columns = _columns(*[fields] * M, folds=(0, 0, 0))
    found_M = Criterion("cross_entropy", columns, COUNTS_KC).training(x_MBC, _batch(y_mB))
    counts = COUNTS_KC[0].double()
    module = nn.CrossEntropyLoss(
        weight=counts.sum() / (C * counts) if "class_weights" in fields else None,
        label_smoothing=float(fields.get("label_smoothing", 0.0)),
    )
    expected_M = torch.stack([module(x_BC, y_mB[0]) for x_BC in x_MBC])
    _assert_same_with_gradient(found_M, expected_M, x_MBC)


@pytest.mark.parametrize("own_targets", [False, True])
@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize("fields", [None, {}, {"label_smoothing": 0.2}], ids=str)
@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_gradient_that_is_written_out_is_autograds(
    loss: str, fields: dict[str, object] | None, mixes: bool, own_targets: bool
) -> None:
    """With each row's own numbers, and with all parts off."""
    x_MBC, y_mB, partner_mB = _case(loss, own_targets)
    columns = _columns(*(ROWS if fields is None else [fields] * M))
    criterion = Criterion(loss, columns, COUNTS_KC if loss in CLASS_LOSSES else None)
    share_M = torch.tensor([1.0, 0.3, 0.85], dtype=torch.float64)
    batch = _batch(y_mB, partner_mB, share_M) if mixes else _batch(y_mB)
    expected_M = criterion.training(x_MBC, batch)
    (expected_MBC,) = torch.autograd.grad(expected_M.sum(), x_MBC)
    found_M, found_MBC = criterion.value_and_grad(x_MBC.detach(), batch)
    torch.testing.assert_close(found_M, expected_M.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found_MBC, expected_MBC, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_gradient_agrees_with_finite_differences(loss: str) -> None:
    x_MBC, y_mB, partner_mB = _case(loss, own_targets=True)
    criterion = Criterion(loss, _columns(*ROWS), COUNTS_KC if loss in CLASS_LOSSES else None)
    share_M = torch.tensor([0.9, 0.3, 0.5], dtype=torch.float64)
    batch = _batch(y_mB, partner_mB, share_M)
    assert torch.autograd.gradcheck(lambda x: criterion.training(x, batch), (x_MBC,), atol=1e-6)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_plain_loss_of_each_example_knows_no_smoothing_and_no_weights(loss: str) -> None:
    x_MBC, y_mB, _ = _case(loss, own_targets=False)
    counts = COUNTS_KC if loss in CLASS_LOSSES else None
    found_MB = Criterion(loss, _columns(*ROWS), counts).plain(x_MBC, y_mB)
    assert found_MB.shape == (M, B)
    for row in range(M):
        module = _torch(loss, row)
        if loss in CLASS_LOSSES:
            module.weight = None
            module.label_smoothing = 0.0
        x = x_MBC[row] if loss in CLASS_LOSSES else x_MBC[row].squeeze(1)
        each = torch.stack([module(x[b : b + 1], y_mB[0, b : b + 1]) for b in range(B)])
        torch.testing.assert_close(found_MB[row], each, rtol=1e-12, atol=1e-14)


def test_a_row_alone_has_the_loss_that_it_has_in_company() -> None:
    x_MBC, y_mB, _ = _case("cross_entropy", own_targets=False)
    together_M = Criterion("cross_entropy", _columns(*ROWS), COUNTS_KC).training(
        x_MBC, _batch(y_mB)
    )
    for row in range(M):
        alone = Columns([config(**ROWS[row])], [0], [FOLDS[row]], CPU, torch.float64)
        alone_1 = Criterion("cross_entropy", alone, COUNTS_KC).training(
            x_MBC[row : row + 1], _batch(y_mB)
        )
        torch.testing.assert_close(together_M[row], alone_1[0], rtol=1e-14, atol=0)


def test_the_hinge_of_outputs_far_from_zero_keeps_its_margin() -> None:
    # In float32 1 - 1e9 + 1e9 is 0: taking the margin off the sum of all classes would be wrong.
    x_MBC = torch.tensor([[[1e9, 1e9, 0.0]]])
    columns = Columns([config()], [0], [0], CPU, torch.float32)
    criterion = Criterion("hinge", columns, None)
    assert criterion.plain(x_MBC, torch.tensor([[2]])).item() == pytest.approx(2e9 / 3)
    assert criterion.plain(x_MBC - 1e9, torch.tensor([[0]])).item() == pytest.approx(1 / 3)
    assert criterion.plain(x_MBC, torch.tensor([[0]])).item() >= 0


def test_balanced_weights_equal_sklearns_and_are_0_for_a_class_without_rows() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = np.repeat(np.arange(C), COUNTS_KC[1].numpy())
    expected = compute_class_weight("balanced", classes=np.arange(C), y=y)
    weights_MC = class_weights(_columns(*ROWS), COUNTS_KC)
    np.testing.assert_allclose(weights_MC[1], expected, rtol=1e-12)
    assert torch.equal(weights_MC[0], torch.ones(C, dtype=torch.float64))
    absent = class_weights(_columns(ROWS[1], folds=(0,)), torch.tensor([[5, 0, 5]]))
    assert absent.tolist() == [[10 / 15, 0.0, 10 / 15]]


def test_rows_that_ask_for_no_weights_cost_none() -> None:
    assert class_weights(_columns({}, {}), COUNTS_KC) is None
    assert class_weights(_columns({"class_weights": "balanced"}), None) is None


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_chance_is_the_loss_of_equal_outputs(loss: str) -> None:
    c = config(loss=loss, hinge_margin=0.7)
    criterion = Criterion(loss, Columns([c], [0], [0], CPU, torch.float64), None)
    each_MB = criterion.plain(torch.zeros(1, C, C, dtype=torch.float64), torch.arange(C)[None])
    assert chance_loss(c, of_outputs(C), None) == pytest.approx(each_MB.mean().item(), rel=1e-12)


def test_chance_of_ten_classes_is_the_logarithm_of_ten() -> None:
    assert chance_loss(TrainConfig(), of_outputs(10), None) == pytest.approx(2.302585, abs=1e-6)


@pytest.mark.parametrize("fields", [{}, {"loss": "huber", "huber_delta": 0.4}, {"loss": "huber"}])
def test_chance_of_a_regression_is_the_least_loss_of_all_constants(fields: dict) -> None:
    draw = torch.Generator().manual_seed(5)
    y = torch.rand(301, generator=draw).pow(4).double()  # skewed: its median is not its mean
    y = (y - y.mean()) / y.std(correction=0)
    c = config(**fields)
    criterion = Criterion(c.loss or "mse", Columns([c], [0], [0], CPU, torch.float64), None)
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    means = criterion.plain(
        grid.expand(len(y), -1).reshape(1, -1, 1), y.repeat_interleave(6001)[None]
    )
    least = means.view(len(y), -1).mean(0).min().item()
    assert chance_loss(c, of_outputs(1), y) == pytest.approx(least, rel=1e-6)
    if c.loss is None:
        assert chance_loss(c, of_outputs(1), y) == pytest.approx(1.0)


def test_chance_of_a_regression_without_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="needs targets"):
        chance_loss(TrainConfig(), of_outputs(1), None)


def test_every_loss_that_a_spec_may_name_is_implemented() -> None:
    assert set(LOSSES) == set(LOSS_NAMES)
    assert math.isclose(chance_loss(config(loss="hinge"), of_outputs(4), None), 3 / 4)
