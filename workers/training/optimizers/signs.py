"""Rules that follow the gradient's sign: rprop, delta_bar_delta, lion.

Named in the table of the package, which the stack calls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.training.optimizers.base import Hyper, State

SMALLEST_STEP, LARGEST_STEP = 1e-6, 50.0  # PyTorch's
SMALLEST_GAIN, LARGEST_GAIN = 0.01, 100.0


def rprop(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """Each weight's step is lr at first, times eta_plus where g keeps its sign, times eta_minus
    where it turns, in [1e-6, 50];  w <- w - sign(g) step, and w rests where it turned
    (Riedmiller and Braun 1993). The rate of the first update is all that it takes from a schedule
    or a warm-up."""
    size, last = state["step_size"], state["prev"]
    if step == 1:
        size.add_(h.lr)
    agreement = last.mul_(g).sign_()
    turned, kept = agreement.clamp(max=0), agreement.clamp(min=0)  # -1 or 0; 1 or 0
    factors = torch.addcmul(kept * (h.eta_plus - 1), turned, 1 - h.eta_minus).add_(1)
    size.mul_(factors).clamp_(SMALLEST_STEP, LARGEST_STEP)
    last.copy_(g.mul_(turned.add_(1)))
    w.addcmul_(g.sign_(), size, value=-1)


def delta_bar_delta(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """Each weight's gain is 1 at first, + beta where g has the last one's sign, times (1 - beta)
    where the other, in [0.01, 100];  w <- w - lr gain g  (Jacobs 1988; Hinton, lecture 6).

    As Jacobs has it, a gain rests where either gradient is zero: dead units keep theirs.
    """
    gain, last_sign = state["gain"], state["last_sign"]
    if step == 1:
        gain.fill_(1)
    sign = g.sign()
    agreement = last_sign.mul_(sign)
    shrunk, grown = gain * (1 - h.gain_step), gain.addcmul_(agreement, h.gain_step)
    torch.where(agreement < 0, shrunk, grown, out=gain)
    gain.clamp_(SMALLEST_GAIN, LARGEST_GAIN)
    last_sign.copy_(sign)
    w.addcmul_(g.mul_(gain), h.lr, value=-1)


def lion(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """w <- w - lr sign(b1 m + (1-b1) g);  m <- b2 m + (1-b2) g  (Chen et al. 2023)"""
    average = state["exp_avg"]
    w.addcmul_(average.lerp(g, h.rest_beta1).sign_(), h.lr, value=-1)
    average.lerp_(g, h.rest_beta2)
