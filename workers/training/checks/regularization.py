"""Regularization at the start: the loss rises by it, and an update follows its slope.

Called by ``check`` for each network and penalty (cs231n, "Babysitting the learning process").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.messages import CheckResult
from workers.training.checks.initial import plain_loss
from workers.training.checks.subject import Network, Subject, undisturbed
from workers.training.optimizers import VARIANTS, variant
from workers.training.stack import Stack

OUTWEIGHS = 10.0  # times the loss of the data
STEP = 1e-3  # rate times the larger of weight_decay and l1: small, and far above rounding
EXACT = 1e-6  # of the slope: the update is linear in it, so that only float64 rounds


def regularized_loss(subject: Subject) -> CheckResult:
    """Rises by weight_decay/2 |w|^2 + l1 |w|_1, and updates without gradient go down that slope.

    Decoupled decay has no part in the loss: there the update alone is looked at.
    """
    config = subject.config
    if not config.weight_decay and not config.l1:
        return subject.result("regularized_loss", "skip", "weight_decay and l1 are 0")
    network = Network(subject, undisturbed(config), subject.seeds(1))
    if not _penalty(network, config):
        text = "weights that are all 0 have no penalty: the loss does not rise with regularization"
        text += f"; use another {subject.start}"
        return subject.result("regularized_loss", "fail", text)
    missed = max(_missed(subject, part) for part in _parts(config))
    numbers = {"weight_decay": config.weight_decay, "l1": config.l1, "missed": missed}
    if not missed <= EXACT:
        text = f"an update differs by {missed:.1e} of its size from the slope of weight_decay "
        text += f"{config.weight_decay:.3g}, l1 {config.l1:.3g}: regularization does not act"
        return subject.result("regularized_loss", "fail", text, **numbers)
    return _of_loss(subject, network, numbers)


def _of_loss(subject: Subject, network: Network, numbers: dict[str, float]) -> CheckResult:
    """How much of it is a term of the loss, against the loss of the data."""
    name, config = "regularized_loss", subject.config
    in_loss = _in_loss(config)
    loss, penalty = plain_loss(subject, network).item(), _penalty(network, in_loss)
    numbers |= {"loss": loss, "penalty": penalty}
    if not penalty:
        text = f"{config.optimizer} decays weights beside the loss, by rate times weight_decay"
        return subject.result(name, "pass", text, **numbers)
    text = f"{loss:.4g} rises to {loss + penalty:.4g} with weight_decay {in_loss.weight_decay:.3g},"
    text += f" l1 {config.l1:.3g}"
    if penalty > OUTWEIGHS * loss:
        text += ": the penalty outweighs the data; lower weight_decay and l1"
        return subject.result(name, "warn", text, **numbers)
    return subject.result(name, "pass", text, **numbers)


def _in_loss(config: TrainConfig) -> TrainConfig:
    """``config`` without what is no term of the loss."""
    return replace(config, weight_decay=0.0) if VARIANTS[variant(config)].decoupled else config


def _parts(config: TrainConfig) -> Iterator[TrainConfig]:
    """What acts by the gradient, under plain descent, and what acts beside it, each alone."""
    in_loss = _in_loss(config)
    if in_loss.weight_decay or in_loss.l1:
        yield replace(in_loss, optimizer="sgd")
    if config.weight_decay != in_loss.weight_decay:
        yield replace(config, l1=0.0)


def _missed(subject: Subject, part: TrainConfig) -> float:
    """|u - s| / |s|: what an update on a gradient of 0 takes off the weights over its rate, u, and
    the penalty's slope s by central differences."""
    free = replace(part, frozen_layers=0, lr_multipliers=(), max_norm=None, gradient_noise=0.0)
    stack = Network(subject, replace(free, precision="float64"), subject.seeds(1)).stack
    slope_P = torch.zeros_like(stack.weights_MP[0])
    for spec, place in zip(stack.parameters, stack.slices, strict=True):
        if spec.kind == "weight" or part.decay_biases:
            slope_P[place] = _slope(stack.weights_MP[0, place], part)
    taken_P = _taken(stack, STEP / max(part.weight_decay, part.l1))
    return float((taken_P - slope_P).norm() / slope_P.norm())


def _taken(stack: Stack, rate: float) -> Tensor:
    """What one update on a gradient of 0 takes off the only row's weights, over the rate, [P]."""
    before_P = stack.weights_MP[0].clone()
    stack.set_rates(stack.columns.vector([rate]))
    stack.accumulate([torch.zeros_like(w) for w in stack.leaves().values()], num_examples=1)
    stack.update()
    return (before_P - stack.weights_MP[0]) / rate


def _slope(w: Tensor, config: TrainConfig) -> Tensor:
    """(p(w + h) - p(w - h)) / 2h with h = |w| / 1000, which crosses no kink; 0 at w = 0."""
    h = w.abs() / 1000
    return ((_cost(w + h, config) - _cost(w - h, config)) / (2 * h)).nan_to_num(nan=0.0)


def _cost(w: Tensor, config: TrainConfig) -> Tensor:
    """p(w) = weight_decay/2 w^2 + l1 |w|, the penalty of each weight."""
    return config.weight_decay / 2 * w.square() + config.l1 * w.abs()


def _penalty(network: Network, config: TrainConfig) -> float:
    views = network.stack.views("weights")
    return sum(
        _cost(views[spec.name].double(), config).sum().item()
        for spec in network.stack.parameters
        if spec.kind == "weight" or config.decay_biases
    )
