"""Adam and its kin: moving averages of the gradient and of its square, corrected for their start.

Named in the table of the package, which the stack calls; swats begins with ``adam_direction``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.training.optimizers.base import Hyper, State, accumulate, root_plus
from workers.training.optimizers.fused import adam_direction


def adam(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;
    w <- w - lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)  (Kingma and Ba 2015);
    amsgrad: the largest v so far in the place of v  (Reddi et al. 2018)"""
    correction1 = accumulate(state["correction1"], h.beta1)
    correction2 = accumulate(state["correction2"], h.beta2)
    direction = adam_direction(g, state, h, step)
    if direction is not None:
        w.addcmul_(direction, h.lr)
        return
    first = state["exp_avg"].lerp_(g, h.rest_beta1)
    second = state["exp_avg_sq"].lerp_(g.square_(), h.rest_beta2)
    if "max_exp_avg_sq" in state:
        largest = state["max_exp_avg_sq"]
        second = torch.maximum(largest, second, out=largest)
    root = correction2.sqrt()
    rate = h.lr * root / correction1
    denominator = root_plus(second, (h.eps * root).to(w))
    w.addcmul_(torch.div(first, denominator, out=denominator), rate.to(w), value=-1)


def adamax(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """m <- b1 m + (1-b1) g;  u <- max(b2 u, |g| + eps);  w <- w - lr / (1-b1^t) m / u
    (Kingma and Ba 2015, sec. 7)"""
    first = state["exp_avg"].lerp_(g, h.rest_beta1)
    largest = state["exp_inf"].mul_(h.beta2.to(w))
    torch.maximum(largest, g.abs_().add_(h.eps), out=largest)
    rate = h.lr / accumulate(state["correction1"], h.beta1)
    w.addcmul_(first / largest, rate.to(w), value=-1)


def nadam(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """m, v as Adam's;  mu_t = b1 (1 - 0.96^(t psi) / 2), psi = momentum_decay;
    w <- w - lr (mu_{t+1} m / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) g / (1 - mu_1 ... mu_t))
    / (sqrt(v / (1-b2^t)) + eps)  (Dozat 2016)"""
    first = state["exp_avg"].lerp_(g, h.rest_beta1)
    second = state["exp_avg_sq"].lerp_(g * g, h.rest_beta2)
    root = accumulate(state["correction2"], h.beta2).sqrt()
    share_of_first, share_of_g = _nesterov_shares(state, h)
    denominator = root_plus(second, (h.eps * root).to(w))
    direction = g.mul_((share_of_g * root).to(w)).addcmul_(first, (share_of_first * root).to(w))
    w.addcmul_(direction.div_(denominator), h.lr, value=-1)


def _nesterov_shares(state: State, h: Hyper) -> tuple[Tensor, Tensor]:
    """mu_{t+1} / (1 - mu_1 ... mu_{t+1}) and (1 - mu_t) / (1 - mu_1 ... mu_t), [m, 1] each."""
    decay = 1 - accumulate(state["mu_decay"], h.decay_factor)
    mu, mu_next = (h.beta1 * (1 - 0.5 * d) for d in (decay, decay * h.decay_factor))
    gathered = accumulate(state["mu_correction"], mu)
    gathered_next = mu_next * gathered + (1 - mu_next)
    return mu_next / gathered_next, (1 - mu) / gathered
