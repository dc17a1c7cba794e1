"""A loss of the user's own: any function of one network's outputs and targets, its rows stacked.

Made by ``group_training`` and the checks where ``loss`` is MODULE:NAME. It is tried on two networks
first; what torch.func.vmap refuses is computed row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import vmap

from workers.config import TrainConfig
from workers.config.combination import ConfigError
from workers.config.own import OwnError, is_own, said
from workers.config.own_pairs import of_pairs
from workers.messages import Member
from workers.training.feed import Batch, DeviceData
from workers.training.keyed import generator
from workers.training.loss import Criterion, mixed
from workers.training.models import Model
from workers.training.models.base import Pass
from workers.training.precision import autocast, dtype_of
from workers.training.stack import Stack

MOST_TRIED = 256  # examples of a minibatch
_CLOSE = 1e-3  # relative: stacked and alone may round otherwise
Pair = tuple[Tensor, Tensor]  # outputs [2, B, C] and targets [1, B]


class OwnLoss:
    """``of(outputs, targets)`` of one row, [B, C] and [B]; a regression's outputs are [B] too.

    It is tried on ``pairs``, those of two rows. Rows that vmap refuses, for the reason ``refusal``,
    go through it one after the other. Raises ConfigError if it gives no loss of them.
    """

    def __init__(
        self, of: Callable[[Tensor, Tensor], Tensor], pairs: Iterator[Pair], *, is_regression: bool
    ) -> None:
        self._of, self._is_regression = of, is_regression
        self.refusal: str | None = None
        for outputs_2BC, y_1B in pairs:
            self._try(outputs_2BC, y_1B)

    def mean(self, outputs_MBC: Tensor, y_mB: Tensor) -> Tensor:
        """Each row's loss of its examples, [M], differentiable; a target's m is M, or 1."""
        outputs_MBC = outputs_MBC.squeeze(2) if self._is_regression else outputs_MBC
        if self.refusal is not None or len(outputs_MBC) == 1:
            pairs = zip(outputs_MBC, y_mB.expand(len(outputs_MBC), -1), strict=True)
            return torch.stack([self._of(outputs, y_B) for outputs, y_B in pairs])
        in_dims, y = ((0, None), y_mB[0]) if len(y_mB) == 1 else ((0, 0), y_mB)
        loss_M: Tensor = vmap(self._of, in_dims=in_dims)(outputs_MBC, y)
        return loss_M

    def value_and_grad(self, outputs_MBC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses [M] of a minibatch, and the gradient of their sum by the outputs; no graph."""
        # What was made in inference mode takes no gradient; a copy made outside of it does.
        with torch.inference_mode(False), torch.enable_grad():
            leaf_MBC = outputs_MBC.clone().detach().requires_grad_()
            loss_M = mixed(batch, lambda y_mB, _: self.mean(leaf_MBC, y_mB))
            (gradient_MBC,) = torch.autograd.grad(loss_M.sum(), leaf_MBC)
        return loss_M.detach(), gradient_MBC

    def _try(self, outputs_2BC: Tensor, y_1B: Tensor) -> None:
        """Each row alone, twice; then both together, for which there may be a ``refusal``."""
        alone = [self._alone(outputs_BC, y_1B[0]) for outputs_BC in outputs_2BC]
        if y_1B.shape[1] > 1 and not any(bool(gradient.any()) for _, gradient in alone):
            rule = "must depend on the outputs, but its gradient is 0 everywhere"
            raise ConfigError("loss", rule)
        if self.refusal is not None:
            return
        leaf_2BC = outputs_2BC.clone().requires_grad_()
        try:
            loss_2 = self.mean(leaf_2BC, y_1B)
            (gradient_2BC,) = torch.autograd.grad(loss_2.sum(), leaf_2BC)
        except Exception as error:  # whatever vmap and autograd refuse
            self.refusal = f"it cannot be stacked ({said(error)})"
            return
        losses, gradients = map(torch.stack, zip(*alone, strict=True))
        for together, apart in ((loss_2, losses), (gradient_2BC, gradients)):
            if not torch.allclose(together, apart, rtol=_CLOSE, atol=_CLOSE):
                self.refusal = "two rows, stacked, do not give what one gives alone"

    def _alone(self, outputs_BC: Tensor, y_B: Tensor) -> Pair:
        """What one row gives: the loss and its gradient. Raises ConfigError."""
        (loss, gradient), (again, _) = (self._once(outputs_BC, y_B) for _ in range(2))
        if not torch.equal(loss, again):
            rule = "must give the same for the same numbers, but does not"
            raise ConfigError("loss", f"{rule}; take away what it draws at random, keeps or writes")
        return loss, gradient

    def _once(self, outputs_BC: Tensor, y_B: Tensor) -> Pair:
        leaf_BC = outputs_BC.clone().requires_grad_()
        given = leaf_BC.squeeze(1) if self._is_regression else leaf_BC
        taken = f"outputs {list(given.shape)} and targets {list(y_B.shape)}"
        try:
            loss = self._of(given, y_B)  # no copy: that it writes into them is to show
        except (Exception, SystemExit) as error:  # whatever a user's function does
            rule = f"must take {taken}, but that raises {said(error)}"
            raise ConfigError("loss", rule) from error
        _check_scalar(loss, taken)
        try:
            (gradient_BC,) = torch.autograd.grad(loss, leaf_BC)
        except RuntimeError as error:
            rule = "must depend on the outputs by what PyTorch can differentiate"
            raise ConfigError("loss", f"{rule}, but {said(error)}") from error
        if not gradient_BC.isfinite().all():
            raise ConfigError("loss", f"must have a finite gradient, but has none for {taken}")
        return loss.detach(), gradient_BC


class OwnCriterion(Criterion):
    """The same of an OwnLoss; in validation it is the loss of all examples at once."""

    takes_all = True

    def __init__(self, loss: OwnLoss) -> None:
        self._own = loss

    def training(self, outputs_MBC: Tensor, batch: Batch) -> Tensor:
        """What is minimized, [M], differentiable; of mixup as ``loss.mixed`` says."""
        return mixed(batch, lambda y_mB, _: self._own.mean(outputs_MBC, y_mB))

    def value_and_grad(self, outputs_MBC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """``training`` [M], and the gradient of its sum by the outputs [M, B, C]; no graph."""
        return self._own.value_and_grad(outputs_MBC, batch)

    def plain(self, outputs_MBC: Tensor, y_mB: Tensor) -> Tensor:
        """The loss of each example alone, [M, B]."""
        num_rows, num_examples, num_outputs = outputs_MBC.shape
        y_N1 = y_mB.expand(num_rows, -1).reshape(-1, 1)
        loss_N = self._own.mean(outputs_MBC.reshape(-1, 1, num_outputs), y_N1)
        return loss_N.view(num_rows, num_examples)

    def summed(self, outputs_MNC: Tensor, y_mN: Tensor) -> Tensor:
        """N times the loss of all N examples, [M]."""
        return self._own.mean(outputs_MNC, y_mN) * y_mN.shape[1]


def own_loss(config: TrainConfig, data: DeviceData, model: Model) -> OwnLoss | None:
    """The loss that ``config`` names, if it is a user's own. Raises ConfigError.

    It is tried on minibatches of ``data`` as long as those of an epoch, at most MOST_TRIED.
    """
    if not is_own(config.loss or ""):
        return None
    try:
        of = of_pairs(str(config.loss))
    except OwnError as error:
        raise ConfigError("loss", str(error)) from error
    if not callable(of):
        raise ConfigError("loss", f"must give a function, but gives a {type(of).__name__}")
    if isinstance(of, nn.Module):
        if any(parameter.requires_grad for parameter in of.parameters()):
            rule = "must have no parameters, for nothing trains them"
            raise ConfigError("loss", f"{rule}; put them into the model")
        of = of.to(data.device, dtype_of(config.precision))
    pairs = _tried(config, data, model)
    return OwnLoss(of, pairs, is_regression=data.shape.is_regression)


def _check_scalar(loss: object, taken: str) -> None:
    rule = f"must give one number for {taken}, the mean loss, as a tensor"
    if not isinstance(loss, Tensor):
        raise ConfigError("loss", f"{rule}, but gives a {type(loss).__name__}")
    if loss.shape != ():
        raise ConfigError("loss", f"{rule}, but gives {list(loss.shape)}")
    if not loss.isfinite():
        raise ConfigError("loss", f"must be finite at first, but is {loss.item()} for {taken}")
    if not loss.requires_grad:
        rule = "must depend on the outputs by what PyTorch can differentiate"
        raise ConfigError("loss", f"{rule}, but its result has no gradient")


@torch.no_grad()
def _tried(config: TrainConfig, data: DeviceData, model: Model) -> Iterator[Pair]:
    """Outputs and targets of two new networks, for each length that a minibatch has."""
    dtype, fold = dtype_of(config.precision), data.all_folds_k[:1]
    members = [Member(trial=seed, seed=seed, config=config) for seed in range(2)]
    stack = Stack(model, members, data.device, dtype)
    stack.initialize()
    given = Pass(weights=stack.weights, buffers=stack.buffers, columns=stack.columns, training=True)
    order_N = torch.randperm(data.num_train, generator=generator("loss"))
    for size in _sizes(config, data.num_train):
        index_1B = order_N[None, :size].to(data.device)
        x_1BF, y_1B = data.train.at(index_1B, fold)
        x_1BF = data.preprocessed(data.scaled(x_1BF, dtype), fold)
        with autocast(config.precision, data.device):
            outputs_2BC = model.forward(given, x_1BF).to(dtype)
        yield outputs_2BC, y_1B.to(dtype) if y_1B.is_floating_point() else y_1B


def _sizes(config: TrainConfig, num_train: int) -> list[int]:
    size = config.minibatch_size(0, num_train)
    sizes = [size, num_train % size, 1 if config.sampling == "hard" else 0]
    return sorted({min(size, MOST_TRIED) for size in sizes if size}, reverse=True)
