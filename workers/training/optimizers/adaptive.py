"""Rules that divide each weight's gradient by its own past size: adagrad, rmsprop, adadelta.

Named in the table of the package, which the stack calls.
"""

from __future__ import annotations

from torch import Tensor

from workers.training.optimizers.base import Hyper, State, root_plus
from workers.training.optimizers.fused import rmsprop_direction


def adagrad(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """s <- s + g^2;  w <- w - lr g / (sqrt(s) + eps)  (Duchi, Hazan and Singer 2011)"""
    total = state["sum"].addcmul_(g, g)
    w.addcmul_(g.div_(root_plus(total, h.eps)), h.lr, value=-1)


def rmsprop(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """s <- alpha s + (1-alpha) g^2;  w <- w - lr g / (sqrt(s) + eps)  (Tieleman and Hinton 2012);
    centered: s - m^2 in the place of s, m <- alpha m + (1-alpha) g  (Graves 2013);
    with momentum: b <- rmsprop_momentum b + g / (sqrt(s) + eps);  w <- w - lr b"""
    direction = rmsprop_direction(g, state, h)
    if direction is not None:
        w.addcmul_(direction, h.lr)
        return
    direction = g.div_(_spread(g, state, h))
    if "momentum_buffer" in state:
        direction = state["momentum_buffer"].mul_(h.rmsprop_momentum).add_(direction)
    w.addcmul_(direction, h.lr, value=-1)


def _spread(g: Tensor, state: State, h: Hyper) -> Tensor:
    """sqrt(s) + eps; centred, sqrt(s - a^2) + eps with a <- alpha a + (1-alpha) g  (Graves 2013).

    s - a^2 is a variance, but may be below zero by a rounding error.
    """
    square = state["square_avg"].lerp_(g * g, h.rest_alpha)
    if "grad_avg" not in state:
        return root_plus(square, h.eps)
    mean = state["grad_avg"].lerp_(g, h.rest_alpha)
    return root_plus(square.addcmul(mean, mean, value=-1).clamp_(min=0), h.eps)


def adadelta(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """s <- rho s + (1-rho) g^2;  d = g sqrt(a + eps) / sqrt(s + eps);
    a <- rho a + (1-rho) d^2;  w <- w - lr d  (Zeiler 2012)"""
    average = state["square_avg"].lerp_(g * g, h.rest_rho)
    delta = (state["acc_delta"] + h.eps).div_(average + h.eps).sqrt_().mul_(g)
    state["acc_delta"].lerp_(delta * delta, h.rest_rho)
    w.addcmul_(delta, h.lr, value=-1)
