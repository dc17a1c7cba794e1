"""SWATS: Adam that goes on as SGD once the rate that SGD would need has settled.

Named in the table of the package, which the stack calls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.training.optimizers.base import Hyper, State, accumulate, root_plus


def swats(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """Adam's step p and the rate gamma = p'p / (-p'g) whose SGD step would have p for its
    projection; Lambda, gamma's moving average over b2. Once |Lambda - gamma| < swats_tolerance:
    v <- b1 v + g;  w <- w - (1-b1) Lambda v  (Keskar and Socher 2017, algorithm 1)

    Rows switch each at its own step. Two things are ours: Lambda must be positive, or SGD would
    climb; and it follows the schedule, as Lambda lr / (lr at the switch).
    """
    is_sgd = state["sgd_rate"] > 0  # Lambda / lr at the switch; 0 before it
    root = accumulate(state["correction2"], h.beta2).sqrt()
    adam_rate = h.lr * root / accumulate(state["correction1"], h.beta1)
    sgd_rate = (1 - h.beta1) * state["sgd_rate"] * h.lr
    rate = torch.where(is_sgd, sgd_rate, adam_rate)
    direction = _direction(g, state, h, is_sgd, h.eps * root)
    w.addcmul_(direction, rate.to(w), value=-1)
    _watch(direction, g, state, h, rate, is_sgd, step)


def _direction(g: Tensor, state: State, h: Hyper, is_sgd_m1: Tensor, eps_m1: Tensor) -> Tensor:
    """m / (sqrt(v) + eps) of Adam's rows, [m, P]; the momentum of those that switched.

    One average serves both: m <- b1 m + (1-b1) g turns into v <- b1 v + g. Masks are columns, so
    that they cost no passes over the rows.
    """
    one = torch.ones_like(eps_m1)
    share = torch.where(is_sgd_m1, one, 1 - h.beta1).to(g)
    first = state["exp_avg"].mul_(h.beta1.to(g)).addcmul_(g, share)
    second = state["exp_avg_sq"].lerp_(g * g, h.rest_beta2) * (~is_sgd_m1).to(g)
    denominator = root_plus(second, torch.where(is_sgd_m1, one, eps_m1).to(g))
    return torch.div(first, denominator, out=denominator)


def _watch(
    direction: Tensor,
    g: Tensor,
    state: State,
    h: Hyper,
    rate_m1: Tensor,
    is_sgd_m1: Tensor,
    step: int,
) -> None:
    """Average gamma = p'p / (-p'g), where p = -rate d; switch the rows where it has settled.

    A row whose step is zero, or across the gradient, keeps its average. Sums are float64: in
    float32 they would be known to 1e-7 at best, and the paper asks 1e-9.
    """
    descent_m1 = rate_m1 * h.sums(direction * g)
    square_m1 = rate_m1**2 * h.sums(direction.square())
    counts = (descent_m1 != 0) & ~is_sgd_m1
    average = state["rate_average"]
    gamma = torch.where(counts, square_m1 / descent_m1, average)
    average.lerp_(gamma, 1 - h.beta2)
    settled = average / state["correction2"]
    switches = counts & ((settled - gamma).abs() < h.swats_tolerance) & (settled > 0) & (step > 1)
    state["sgd_rate"].copy_(torch.where(switches, settled / h.lr, state["sgd_rate"]))
    state["exp_avg"].mul_((~switches).to(g))
