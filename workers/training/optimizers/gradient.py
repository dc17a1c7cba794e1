"""Gradient descent and its momenta: rules that follow the gradient, or an average of it.

Named in the table of the package, which the stack calls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.training.optimizers.base import Hyper, State


def sgd(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """w <- w - lr g  (Robbins and Monro 1951)"""
    w.addcmul_(g, h.lr, value=-1)


def momentum(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """b <- mu b + g;  w <- w - lr b  (Polyak 1964; PyTorch's form, rate outside the buffer)"""
    w.addcmul_(_gather(state["momentum_buffer"], g, h), h.lr, value=-1)


def dampened_momentum(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """b <- mu b + (1 - dampening) g, but b = g at first;  w <- w - lr b  (PyTorch's SGD)"""
    buffer = state["momentum_buffer"].mul_(h.momentum)
    if step == 1:
        buffer.copy_(g)
    else:
        buffer.addcmul_(g, 1 - h.dampening)
    w.addcmul_(buffer, h.lr, value=-1)


def averaged_momentum(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """v <- mu v + (1 - mu) g;  w <- w - lr v: a moving average, so mu leaves the rate's scale"""
    average = state["momentum_buffer"].lerp_(g, h.rest_momentum)
    w.addcmul_(average, h.lr, value=-1)


def nesterov(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """b <- mu b + g;  w <- w - lr (g + mu b)  (Nesterov 1983; Sutskever et al. 2013)"""
    buffer = _gather(state["momentum_buffer"], g, h)
    w.addcmul_(g.addcmul_(buffer, h.momentum), h.lr, value=-1)


def _gather(buffer: Tensor, g: Tensor, h: Hyper) -> Tensor:
    """b <- mu b + g in one pass over the buffer."""
    return torch.addcmul(g, buffer, h.momentum, out=buffer)
