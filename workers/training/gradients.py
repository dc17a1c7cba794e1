"""Gradients: what a minibatch's mean losses are, and how they change with each parameter.

Called by the loop for every minibatch. Written out where the model and the loss are, by
autograd elsewhere; neither shows in the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from workers.training.feed.batch import Batch
from workers.training.loss import Criterion
from workers.training.models.base import Model, Pass, Pullback
from workers.training.precision import autocast


def value_and_grad(
    model: Model, given: Pass, x_mBF: Tensor, batch: Batch, criterion: Criterion, precision: str
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """Outputs [M, B, C], losses [M], and the gradients of the losses' sum by ``given.weights``.

    The gradients are [M, *shape] each, in the model's order; no row enters another's. Inputs are
    ``x_mBF``, targets those of ``batch``. Nothing that comes back is in a graph.
    """
    if precision != "bfloat16" or not len(batch):  # whose forward pass is autocast's
        with torch.inference_mode():
            found = model.vjp(given, x_mBF)
            if found is not None:
                return _of_losses(*found, batch, criterion)
    return _of_losses(*_by_autograd(model, given, x_mBF, precision), batch, criterion)


def _of_losses(
    outputs_MBC: Tensor, pullback: Pullback, batch: Batch, criterion: Criterion
) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    loss_M, gradient_MBC = criterion.value_and_grad(outputs_MBC, batch)
    return outputs_MBC, loss_M, pullback(gradient_MBC)


def _by_autograd(
    model: Model, given: Pass, x_mBF: Tensor, precision: str
) -> tuple[Tensor, Pullback]:
    """As ``Model.vjp``."""
    leaves = {name: view.detach().requires_grad_() for name, view in given.weights.items()}
    dtype = next(iter(leaves.values())).dtype
    with autocast(precision, x_mBF.device):
        outputs_MBC = model.forward(replace(given, weights=leaves), x_mBF).to(dtype)
    return outputs_MBC.detach(), lambda gradient_MBC: list(
        torch.autograd.grad(
            outputs_MBC, list(leaves.values()), gradient_MBC, materialize_grads=True
        )
    )
