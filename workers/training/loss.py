"""Losses over M rows: what training minimizes, and the plain one that validation reports.

Called by the loop on outputs [M, B, C] and by the checks; a new loss is one class and one line in
``LOSSES``. The formulas are torch.nn's, which is the oracle of the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.config.combination import DataShape, loss_of
from workers.config.own import is_own
from workers.training.columns import Columns
from workers.training.feed.batch import Batch


class Loss(Protocol):
    """One loss with each row's own numbers. A target's axis m is M, or 1 where all have the same.

    ``prepare(outputs_MBC)`` is what the two targets of a mixup share; the others take its result.
    ``whole_mN`` are the targets of the minibatch that the outputs are of, or are a part of: what
    parts have of its mean, and of the mean's gradient, adds up to the whole's.
    """

    def prepare(self, outputs_MBC: Tensor) -> Tensor: ...

    def each(self, prepared: Tensor, y_mB: Tensor) -> Tensor:
        """The loss of each example [M, B], without smoothing and weights."""
        ...

    def mean(self, prepared: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        """What is minimized, [M]: PyTorch's mean, with the rows' smoothing and class weights."""
        ...

    def gradient(self, prepared: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        """The gradient of ``mean``'s sum by the outputs, [M, B, C]."""
        ...


class CrossEntropy:
    """-log softmax(x)_y (the multinomial logit; Bishop 2006, 4.3.4).

    With label smoothing e (Szegedy et al. 2016) and class weights w, as F.cross_entropy:
    sum_b [(1-e) w_y l_y + e/C sum_c w_c l_c] / sum_b w_y, with l_c = -log softmax(x)_c.
    """

    def __init__(self, columns: Columns, weights_MC: Tensor | None) -> None:
        self._smoothing_M = columns.active("label_smoothing")
        self._weights_MC = weights_MC

    def prepare(self, outputs_MBC: Tensor) -> Tensor:
        # Examples innermost: a softmax over few classes is many times faster over a middle axis.
        return outputs_MBC.transpose(1, 2).log_softmax(1)

    def each(self, log_p_MCB: Tensor, y_mB: Tensor) -> Tensor:
        return -_of_class(log_p_MCB, y_mB).squeeze(1)

    def mean(self, log_p_MCB: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        count = whole_mN.shape[1]
        if self._weights_MC is None and self._smoothing_M is None:  # the step's usual path
            return _of_class(log_p_MCB, y_mB).sum((1, 2)).div_(-count)
        each_MB = self.each(log_p_MCB, y_mB)
        if self._weights_MC is None:
            return self._smoothed(each_MB, log_p_MCB).sum(1) / count
        weight_MB = _of_targets(self._weights_MC, y_mB)
        sum_M = self._smoothed(each_MB * weight_MB, log_p_MCB).sum(1)
        return sum_M / _of_targets(self._weights_MC, whole_mN).sum(1)

    def gradient(self, log_p_MCB: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        """softmax(x)_c sum_k t_k - t_c, where the mean is -sum_k t_k log softmax(x)_k."""
        t_MCB = self._targets(y_mB, whole_mN, log_p_MCB).expand_as(log_p_MCB)
        # Autograd's own kernel: exp alone, on some processors, takes longer.
        backward = torch.ops.aten._log_softmax_backward_data
        by_output_MCB: Tensor = backward(-t_MCB, log_p_MCB, 1, log_p_MCB.dtype)
        return by_output_MCB.transpose(1, 2)

    def _targets(self, y_mB: Tensor, whole_mN: Tensor, log_p_MCB: Tensor) -> Tensor:
        """What multiplies each -log softmax(x) in the mean, [m, C, B]."""
        _, num_classes, num_examples = log_p_MCB.shape
        blank_mCB = log_p_MCB.new_zeros(y_mB.shape[0], num_classes, num_examples)
        t_mCB = blank_mCB.scatter_(1, y_mB.unsqueeze(1), 1.0)
        if self._smoothing_M is not None:
            evenly = t_mCB.new_full((), 1 / num_classes)
            t_mCB = torch.lerp(t_mCB, evenly, self._smoothing_M[:, None, None])
        if self._weights_MC is None:
            return t_mCB / whole_mN.shape[1]
        weight_MN = _of_targets(self._weights_MC, whole_mN)
        return t_mCB * (self._weights_MC / weight_MN.sum(1, keepdim=True)).unsqueeze(2)

    def _smoothed(self, each_MB: Tensor, log_p_MCB: Tensor) -> Tensor:
        if self._smoothing_M is None:
            return each_MB
        if self._weights_MC is not None:
            log_p_MCB = log_p_MCB * self._weights_MC.unsqueeze(2)
        return torch.lerp(each_MB, -log_p_MCB.mean(1), self._smoothing_M.unsqueeze(1))


class Hinge:
    """sum over c != y of w_y max(0, margin - x_y + x_c) / C (Weston and Watkins 1999).

    As nn.MultiMarginLoss: with weights too, the mean is over the number of examples.
    """

    def __init__(self, columns: Columns, weights_MC: Tensor | None) -> None:
        self._margin_M11 = columns.number("hinge_margin")[:, None, None]
        self._weights_MC = weights_MC

    def prepare(self, outputs_MBC: Tensor) -> Tensor:
        return outputs_MBC.transpose(1, 2)

    def each(self, x_MCB: Tensor, y_mB: Tensor) -> Tensor:
        return self._excess(x_MCB, y_mB).mean(1)

    def mean(self, x_MCB: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        each_MB = self.each(x_MCB, y_mB)
        if self._weights_MC is not None:
            each_MB = each_MB * _of_targets(self._weights_MC, y_mB)
        return each_MB.sum(1) / whole_mN.shape[1]

    def gradient(self, x_MCB: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        """1 / C N for each class beyond the margin, and minus their sum for the own one."""
        count = x_MCB.shape[1] * whole_mN.shape[1]
        by_output_MCB = (self._excess(x_MCB, y_mB) > 0).to(x_MCB) / count
        if self._weights_MC is not None:
            by_output_MCB *= _of_targets(self._weights_MC, y_mB).unsqueeze(1)
        own_M1B = -by_output_MCB.sum(1, keepdim=True)
        return by_output_MCB.scatter_(1, _as_index(y_mB, len(x_MCB)), own_M1B).transpose(1, 2)

    def _excess(self, x_MCB: Tensor, y_mB: Tensor) -> Tensor:
        """max(0, margin - x_y + x_c), 0 for the own class, [M, C, B]."""
        own_M1B = _as_index(y_mB, len(x_MCB))
        excess_MCB = (self._margin_M11 - _of_class(x_MCB, y_mB) + x_MCB).clamp(min=0)
        return excess_MCB.scatter(1, own_M1B, 0.0)


class SquaredError:
    """(x - y)^2, as nn.MSELoss; classes have no part in it, so neither have weights."""

    def __init__(self, columns: Columns, weights_MC: Tensor | None) -> None:
        pass

    def prepare(self, outputs_MBC: Tensor) -> Tensor:
        return outputs_MBC.squeeze(2)

    def each(self, x_MB: Tensor, y_mB: Tensor) -> Tensor:
        return (x_MB - y_mB).square()

    def mean(self, x_MB: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        return self.each(x_MB, y_mB).sum(1) / whole_mN.shape[1]

    def gradient(self, x_MB: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        return (2 * (x_MB - y_mB) / whole_mN.shape[1]).unsqueeze(2)


class Huber(SquaredError):
    """e^2 / 2 up to |e| = delta, then delta (|e| - delta / 2), as nn.HuberLoss (Huber 1964)."""

    def __init__(self, columns: Columns, weights_MC: Tensor | None) -> None:
        self._delta_M1 = columns.number("huber_delta").unsqueeze(1)

    def each(self, x_MB: Tensor, y_mB: Tensor) -> Tensor:
        return _huber((x_MB - y_mB).abs(), self._delta_M1)

    def gradient(self, x_MB: Tensor, y_mB: Tensor, whole_mN: Tensor) -> Tensor:
        clipped_MB = (x_MB - y_mB).clamp(-self._delta_M1, self._delta_M1)
        return (clipped_MB / whole_mN.shape[1]).unsqueeze(2)


LOSSES: dict[str, Callable[[Columns, Tensor | None], Loss]] = {
    "cross_entropy": CrossEntropy,
    "hinge": Hinge,
    "mse": SquaredError,
    "huber": Huber,
}


class Criterion:
    """The loss named ``loss``; made anew whenever the rows change.

    ``class_counts_kC`` are the training rows of each class by fold, None where there are none.
    """

    takes_all = False  # whether validation is to be shown all examples at once

    def __init__(self, loss: str, columns: Columns, class_counts_kC: Tensor | None) -> None:
        self._loss = LOSSES[loss](columns, class_weights(columns, class_counts_kC))

    def training(self, outputs_MBC: Tensor, batch: Batch) -> Tensor:
        """What is minimized, [M], differentiable; of a part of a minibatch, its part of that.

        The targets of mixup each with own weights.
        """
        prepared = self._loss.prepare(outputs_MBC)
        return mixed(batch, partial(self._loss.mean, prepared))

    def value_and_grad(self, outputs_MBC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """``training`` [M], and the gradient of its sum by the outputs [M, B, C]; no graph."""
        prepared = self._loss.prepare(outputs_MBC)
        loss_M = mixed(batch, partial(self._loss.mean, prepared))
        return loss_M, mixed(batch, partial(self._loss.gradient, prepared))

    def plain(self, outputs_MBC: Tensor, y_mB: Tensor) -> Tensor:
        """The loss of each example [M, B] without smoothing, weights and mixup: trials compare.

        A hinge has its row's margin and a Huber loss its delta, which nothing else defines: trials
        that differ in them compare by another metric.
        """
        return self._loss.each(self._loss.prepare(outputs_MBC), y_mB)

    def summed(self, outputs_MBC: Tensor, y_mB: Tensor) -> Tensor:
        """``plain`` summed over the examples, [M]."""
        return self.plain(outputs_MBC, y_mB).sum(1)


def class_weights(columns: Columns, class_counts_kC: Tensor | None) -> Tensor | None:
    """N / (C n_c) by row and class [M, C], 1 in rows that ask for none; None where no row asks.

    n_c counts the training rows of class c in the row's fold, N all of them (King and Zeng 2001, as
    sklearn's "balanced"); a class that has no training row weighs 0.
    """
    if class_counts_kC is None or all(c.class_weights == "none" for c in columns.configs):
        return None
    counts_kC = class_counts_kC.to(torch.float64)
    total_k1, num_classes = counts_kC.sum(1, keepdim=True), counts_kC.shape[1]
    balanced_kC = torch.where(counts_kC > 0, total_k1 / (num_classes * counts_kC), 0.0)
    asked_M1 = columns.chosen("class_weights", "balanced").unsqueeze(1)
    return torch.where(asked_M1, balanced_kC[columns.folds_M], 1.0).to(columns.dtype)


def chance_loss(config: TrainConfig, data: DataShape, targets_N: Tensor | None) -> float:
    """The plain loss of the best guess that knows neither inputs nor how frequent a class is.

    ln C for cross-entropy, margin (C-1)/C for hinge, both of equal outputs; the variance of
    ``targets_N`` for mse (1 where they are standardized); the least mean over all constants for
    huber; infinite for a loss of the user's own, of which nobody knows. Regression asks for the
    targets, on the scale of the outputs; reads the device.
    """
    loss, classes = loss_of(config, data), data.num_outputs
    if is_own(loss):
        return math.inf
    if loss == "cross_entropy":
        return math.log(classes)
    if loss == "hinge":
        return config.hinge_margin * (classes - 1) / classes
    if targets_N is None:
        raise ValueError(f"the loss of guessing with {loss} needs targets; give the training rows'")
    targets_N = targets_N.double()
    if loss == "mse":
        return targets_N.var(correction=0).item()
    return _least_huber(targets_N, config.huber_delta)


def _least_huber(targets_N: Tensor, delta: float) -> float:
    """Bisection: the slope of the mean loss in the constant c, mean(clamp(c - y)), only rises."""
    low, high = targets_N.min(), targets_N.max()
    for _ in range(50):
        c = (low + high) / 2
        rises = (c - targets_N).clamp(-delta, delta).mean() > 0
        low, high = torch.where(rises, low, c), torch.where(rises, c, high)
    return _huber((low - targets_N).abs(), torch.tensor(delta).to(low)).mean().item()


def _huber(error: Tensor, delta: Tensor) -> Tensor:
    clipped = torch.minimum(error, delta)
    return clipped * (error - clipped / 2)


def mixed(batch: Batch, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """What ``of`` gives for a batch's targets [M, …], and the whole minibatch's, of which it may be
    a part; of mixup, for both targets and each row's share.

    Mixup: share L(y) + (1 - share) L(partner) (Zhang et al. 2018).
    """
    found = of(batch.y_mB, batch.y_mN)
    if batch.partner_mB is None or batch.partner_mN is None or batch.share_M is None:
        return found
    share = batch.share_M.to(found).view(-1, *[1] * (found.dim() - 1))
    return torch.lerp(of(batch.partner_mB, batch.partner_mN), found, share)


def _of_targets(weights_MC: Tensor, y_mN: Tensor) -> Tensor:
    """The weights of the examples' classes, [M, N]."""
    return weights_MC.gather(1, y_mN.expand(len(weights_MC), -1))


def _of_class(scores_MCB: Tensor, y_mB: Tensor) -> Tensor:
    """The scores of each example's class, [M, 1, B]."""
    return scores_MCB.gather(1, _as_index(y_mB, scores_MCB.shape[0]))


def _as_index(y_mB: Tensor, num_rows: int) -> Tensor:
    return y_mB.unsqueeze(1).expand(num_rows, 1, -1)
