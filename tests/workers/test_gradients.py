"""Gradients that are written out: outputs, losses and gradients are those of autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_cases import IMAGES, Rows, normal
from torch import Tensor
from training_cases import config

from workers.config import TrainConfig
from workers.config.combination import DataShape
from workers.config.model import ACTIVATIONS as ACTIVATION_NAMES
from workers.training.dropout import hidden_dropout
from workers.training.feed import Batch
from workers.training.gradients import value_and_grad
from workers.training.loss import Criterion
from workers.training.models import build_model, products
from workers.training.models.activations import ACTIVATIONS
from workers.training.models.base import Pass

WRITTEN_OUT = [name for name in ACTIVATION_NAMES if ACTIVATIONS[name].pullback is not None]
NUM_EXAMPLES = 7


def _rows(data: DataShape = IMAGES, dtype: torch.dtype = torch.float64, **fields: object) -> Rows:
    configs = [config(dropout=rate, **fields) for rate in (0.0, 0.3, 0.6)]
    return Rows(build_model(configs[0], data), configs, dtype=dtype)


def _given(rows: Rows, step: int = 0) -> Pass:
    return rows.given(dropout=hidden_dropout(rows.columns, 0, step))


def _batch(num_seen: int, data: DataShape = IMAGES) -> Batch:
    drawn = torch.Generator().manual_seed(1)
    y_mB = torch.randint(data.num_outputs, (num_seen, NUM_EXAMPLES), generator=drawn)
    x_mBF = normal(num_seen, NUM_EXAMPLES, data.num_features)
    return Batch(x_mBF=x_mBF, y_mB=y_mB, index_mB=y_mB)


def _by_autograd(rows: Rows, batch: Batch, criterion: Criterion) -> tuple[Tensor, list[Tensor]]:
    loss_M = criterion.training(rows.model.forward(_given(rows), batch.x_mBF), batch)
    return loss_M, list(torch.autograd.grad(loss_M.sum(), list(rows.weights.values())))


@pytest.mark.parametrize("num_seen", [1, 3], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize("widths", [(), (8,), (8, 6), (5, 9, 4)], ids=str)
@pytest.mark.parametrize("activation", WRITTEN_OUT)
def test_layers_written_out_have_the_gradients_of_autograd(
    activation: str, widths: tuple[int, ...], num_seen: int
) -> None:
    rows = _rows(hidden_units=widths, activation=activation)
    batch = _batch(num_seen)
    outputs_MBC = rows.model.forward(_given(rows), batch.x_mBF)
    pull_MBC = normal(*outputs_MBC.shape, seed=2)
    expected = torch.autograd.grad(outputs_MBC, list(rows.weights.values()), pull_MBC)
    with torch.no_grad():
        found = rows.model.vjp(_given(rows), batch.x_mBF)
        assert found is not None
        torch.testing.assert_close(found[0], outputs_MBC.detach(), rtol=1e-12, atol=1e-13)
        gradients = found[1](pull_MBC)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"activation": "gelu"},
        {"normalization": "batch"},
        {"model": "cnn", "channels": (4,)},
        {"model": "logistic_regression"},
    ],
    ids=str,
)
def test_a_minibatchs_gradients_are_those_of_its_losses(fields: dict[str, object]) -> None:
    rows, batch = _rows(**fields), _batch(num_seen=1)
    criterion = Criterion("cross_entropy", rows.columns, None)
    expected_M, expected = _by_autograd(rows, batch, criterion)
    outputs_MBC, loss_M, gradients = value_and_grad(
        rows.model, _given(rows), batch.x_mBF, batch, criterion, "float64"
    )
    assert not outputs_MBC.requires_grad
    assert not loss_M.requires_grad
    torch.testing.assert_close(loss_M, expected_M.detach(), rtol=1e-12, atol=1e-13)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_bfloat16_is_autocasts_with_losses_and_gradients_in_float32() -> None:
    rows = _rows(dtype=torch.float32, precision="bfloat16")
    batch, criterion = _batch(num_seen=1), Criterion("cross_entropy", rows.columns, None)
    rounded, exact = (
        value_and_grad(rows.model, _given(rows), batch.x_mBF.float(), batch, criterion, precision)
        for precision in ("bfloat16", "float32")
    )
    assert not torch.equal(rounded[0], exact[0])
    for mine, theirs in zip([*rounded[:2], *rounded[2]], [*exact[:2], *exact[2]], strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.05 * theirs.norm()


def test_what_is_off_the_usual_path_is_left_to_autograd() -> None:
    assert TrainConfig().activation in WRITTEN_OUT
    for fields in ({"normalization": "layer"}, {"activation": "prelu"}, {"model": "cnn"}):
        rows = _rows(**fields)
        assert rows.model.vjp(_given(rows), _batch(num_seen=1).x_mBF) is None


@given(st.integers(1, 40), st.integers(1, 3), st.booleans(), st.booleans())
def test_products_are_the_same_by_either_library(
    num_rows: int, hundreds: int, is_shared: bool, is_strided: bool
) -> None:
    """On both sides of the size that parts them, of contiguous matrices and of views."""
    size, examples = 100 * hundreds, 32
    a_MHF = normal(num_rows, 50, size + 1).float()[:, :, int(is_strided) :][:, :, :size]
    b_mFB = normal(1 if is_shared else num_rows, examples, size).float().transpose(1, 2)
    bias_MH = normal(num_rows, 50, seed=3).float()
    expected = a_MHF.double() @ b_mFB.double()
    with torch.no_grad():
        found, shifted = products.products(a_MHF, b_mFB), products.affine(a_MHF, b_mFB, bias_MH)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
    expected += bias_MH.double().unsqueeze(2)
    torch.testing.assert_close(shifted.double(), expected, rtol=1e-5, atol=1e-4)


def test_products_have_derivatives_at_any_size() -> None:
    a_MHF = torch.ones(64, 50, 64, requires_grad=True)
    products.affine(a_MHF, torch.ones(1, 64, 32), torch.zeros(64, 50)).sum().backward()
    assert a_MHF.grad is not None
    assert torch.equal(a_MHF.grad, torch.full_like(a_MHF, 32))
