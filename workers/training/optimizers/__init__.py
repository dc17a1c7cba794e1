"""Optimizers over M members: each updates a matrix of weights [m, P] in place, a row a member.

Every hyperparameter is a column [m, 1], so members with different values share the arithmetic.
Called by ``stack.Stack``; a new optimizer is one function and one line in ``OPTIMIZERS``. The
formulas are torch.optim's, which is the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyper:
    """The members' hyperparameters as columns [m, 1], in the weights' type but for the betas.

    Those are float64: 1 - beta^t loses its digits in float32.
    """

    lr: Tensor
    momentum: Tensor
    beta1: Tensor
    beta2: Tensor
    alpha: Tensor
    rho: Tensor
    eps: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """An update rule, the names of its per-weight state (zeros at first), and PyTorch's eps for it.

    ``update(w, g, state, hyper, step)`` may overwrite all but ``g``; ``step`` counts from 1.

    ``decoupled`` rules decay the weights directly; for the others the decay is in the gradient.
    """

    update: Callable[[Tensor, Tensor, State, Hyper, int], None]
    state: tuple[str, ...] = ()
    eps: float = 1e-8
    decoupled: bool = False


def sgd(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """w <- w - lr g"""
    w.addcmul_(g, h.lr, value=-1)


def momentum(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """b <- mu b + g;  w <- w - lr b  (Polyak 1964; PyTorch's form, rate outside the buffer)"""
    buffer = state["momentum_buffer"].mul_(h.momentum).add_(g)
    w.addcmul_(buffer, h.lr, value=-1)


def nesterov(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """b <- mu b + g;  w <- w - lr (g + mu b)  (Nesterov 1983; Sutskever et al. 2013)"""
    buffer = state["momentum_buffer"].mul_(h.momentum).add_(g)
    w.addcmul_(g.addcmul(buffer, h.momentum), h.lr, value=-1)


def adagrad(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """s <- s + g^2;  w <- w - lr g / (sqrt(s) + eps)  (Duchi, Hazan and Singer 2011)"""
    total = state["sum"].addcmul_(g, g)
    w.addcmul_(g / total.sqrt().add_(h.eps), h.lr, value=-1)


def rmsprop(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """s <- alpha s + (1-alpha) g^2;  w <- w - lr g / (sqrt(s) + eps)  (Tieleman and Hinton 2012)"""
    average = state["square_avg"].lerp_(g * g, 1 - h.alpha)
    w.addcmul_(g / average.sqrt().add_(h.eps), h.lr, value=-1)


def adadelta(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """s <- rho s + (1-rho) g^2;  d = g sqrt(a + eps) / sqrt(s + eps);
    a <- rho a + (1-rho) d^2;  w <- w - lr d  (Zeiler 2012)"""
    eps, rest = h.eps, 1 - h.rho
    average = state["square_avg"].lerp_(g * g, rest)
    delta = (state["acc_delta"] + eps).div_(average + eps).sqrt_().mul_(g)
    state["acc_delta"].lerp_(delta * delta, rest)
    w.addcmul_(delta, h.lr, value=-1)


def adam(w: Tensor, g: Tensor, state: State, h: Hyper, step: int) -> None:
    """m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;
    w <- w - lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)  (Kingma and Ba 2015)"""
    first = state["exp_avg"].lerp_(g, (1 - h.beta1).to(w))
    second = state["exp_avg_sq"].lerp_(g * g, (1 - h.beta2).to(w))
    correction = (1 - h.beta2**step).sqrt().to(w)
    denominator = second.sqrt().div_(correction).add_(h.eps)
    w.addcmul_(first / denominator, (h.lr / (1 - h.beta1**step)).to(w), value=-1)


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(update=sgd),
    "momentum": Optimizer(update=momentum, state=("momentum_buffer",)),
    "nesterov": Optimizer(update=nesterov, state=("momentum_buffer",)),
    "adagrad": Optimizer(update=adagrad, state=("sum",), eps=1e-10),
    "rmsprop": Optimizer(update=rmsprop, state=("square_avg",)),
    "adadelta": Optimizer(update=adadelta, state=("square_avg", "acc_delta"), eps=1e-6),
    "adam": Optimizer(update=adam, state=("exp_avg", "exp_avg_sq")),
    # Loshchilov and Hutter 2019: Adam, after w <- w (1 - lr wd).
    "adamw": Optimizer(update=adam, state=("exp_avg", "exp_avg_sq"), decoupled=True),
}
