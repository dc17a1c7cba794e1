"""Activations: what each does to a hidden layer, and which of its outputs are dead or saturated.

``linear`` and ``cnn`` apply them, ``monitoring`` counts by them; names in ``workers.config.model``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workers.training.models.base import ParameterSpec, Pass

PRELU_START = 0.25  # PyTorch's, and He et al. 2015


@dataclass(frozen=True, kw_only=True, slots=True)
class Activation:
    """``apply(h, slope)`` gives the outputs; slopes below zero broadcast to h, where there are any.

    ``dead(outputs)`` marks those that no gradient passes (if it marks one, then all smaller ones
    too), ``saturated(outputs)`` those where the function is nearly flat; None where that cannot be.
    ``pullback(gradient, outputs)`` is the gradient by h, which may take the place of the one by the
    outputs; None where the outputs do not tell it.
    """

    apply: Callable[[Tensor, Tensor | None], Tensor]
    pullback: Callable[[Tensor, Tensor], Tensor] | None = None
    dead: Callable[[Tensor], Tensor] | None = None
    saturated: Callable[[Tensor], Tensor] | None = None


class _Step(torch.autograd.Function):
    """1[h > 0]; its gradient is that of the line h inside |h| <= 1, and 0 outside.

    The straight-through estimator (Bengio et al. 2013) with the window of Hubara et al. 2016.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return (h > 0).to(h.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        h: Tensor = ctx.saved_tensors[0]
        return gradient * (h.abs() <= 1)


def _relu(h: Tensor, _: Tensor | None) -> Tensor:
    """In place: no layer under it needs its output again. Not in a view, where autograd would copy
    the whole (a batch-normalized layer takes 1.15 times as long)."""
    return torch.relu(h) if h._is_view() else torch.relu_(h)


def _leaky(h: Tensor, slope: Tensor | None) -> Tensor:
    """max(h, 0) + slope min(h, 0), interpolated between relu(h) and h: with a slope a row, prelu
    takes 4.5 times as long and torch.where 9 times (64 rows of 50 units, 32 examples, a CPU)."""
    assert slope is not None
    return torch.lerp(torch.relu(h), h, slope.to(h.dtype))


def _relu_pullback(gradient: Tensor, outputs: Tensor) -> Tensor:
    """In place, 0 where the outputs are: multiplying by a mask takes 8 times as long on a CPU."""
    threshold_backward = torch.ops.aten.threshold_backward.grad_input
    passed: Tensor = threshold_backward(gradient, outputs, 0, grad_input=gradient)
    return passed


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(apply=_relu, pullback=_relu_pullback, dead=lambda h: h <= 0),
    "leaky_relu": Activation(apply=_leaky),
    "prelu": Activation(apply=_leaky),
    "elu": Activation(apply=lambda h, _: F.elu(h), saturated=lambda h: h < -0.99),
    "gelu": Activation(apply=lambda h, _: F.gelu(h)),
    "silu": Activation(apply=lambda h, _: F.silu(h)),
    "tanh": Activation(
        apply=lambda h, _: torch.tanh(h),
        pullback=torch.ops.aten.tanh_backward,
        saturated=lambda h: h.abs() > 0.99,
    ),
    "sigmoid": Activation(
        apply=lambda h, _: torch.sigmoid(h),
        pullback=torch.ops.aten.sigmoid_backward,
        saturated=lambda h: (h - 0.5).abs() > 0.49,
    ),
    "arctan": Activation(
        apply=lambda h, _: torch.atan(h),
        saturated=lambda h: h.abs() > math.atan(7),  # slope 1/50
    ),
    "identity": Activation(apply=lambda h, _: h, pullback=lambda gradient, _: gradient),
    "step": Activation(apply=lambda h, _: _apply_step(h)),  # its gradient passes where it is 0
}


def slopes(name: str, given: Pass, layer: int) -> Tensor | None:
    """The slopes [M] below zero of the activation ``name`` in ``layer``; None if it has none."""
    if name == "leaky_relu":
        return given.columns.number("negative_slope")
    return given.weights[f"{layer}.slope"].squeeze(1) if name == "prelu" else None


def slope_parameters(name: str, layer: int) -> tuple[ParameterSpec, ...]:
    """The parameter of prelu: one slope a layer."""
    if name != "prelu":
        return ()
    return (ParameterSpec(name=f"{layer}.slope", shape=(1,), layer=layer, kind="slope"),)


def _apply_step(h: Tensor) -> Tensor:
    stepped: Tensor = _Step.apply(h)  # type: ignore[no-untyped-call]  # PyTorch gives no type
    return stepped
