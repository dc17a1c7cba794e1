"""What an optimizer is: an update rule of rows, its state, and the columns of numbers it reads.

The rules are in the files beside this one, the table in the package; the stack calls ``update``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.training.columns import Columns

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyper:
    """The numbers that rules read, as columns [m, 1] in the weights' type but for float64 ones.

    Float64 are ``beta1``, ``beta2`` and ``decay_factor`` (nadam's 0.96^psi), which enter 1 - beta^t
    and would lose its digits in float32, and ``swats_tolerance``, which is compared in float64.
    ``rest_x`` is 1 - x, the share of what is new in a moving average. ``alike`` has the numbers
    that the optimizer reads, by their fields' names, if they are the same in all rows. ``sums`` is
    the sum over each whole row, [m, 1] in float64, of what is here of it, [m, P].
    """

    lr: Tensor
    momentum: Tensor
    rest_momentum: Tensor
    dampening: Tensor
    beta1: Tensor
    beta2: Tensor
    rest_beta1: Tensor
    rest_beta2: Tensor
    rest_alpha: Tensor
    rmsprop_momentum: Tensor
    rest_rho: Tensor
    eps: Tensor
    decay_factor: Tensor
    eta_minus: Tensor
    eta_plus: Tensor
    gain_step: Tensor
    swats_tolerance: Tensor
    alike: dict[str, float] | None
    sums: Callable[[Tensor], Tensor]

    @classmethod
    def of(
        cls,
        columns: Columns,
        rows: slice,
        optimizer: Optimizer,
        lr_M1: Tensor,
        sums: Callable[[Tensor], Tensor],
    ) -> Hyper:
        """The columns of ``rows``, all of one ``optimizer``; ``lr`` is a view of ``lr_M1``."""

        def column(name: str, *, off: float = 0.0) -> Tensor:
            return columns.number(name, off=off)[rows, None]

        def precise(name: str, *, off: float = 0.0) -> Tensor:
            return columns.number(name, dtype=torch.float64, off=off)[rows, None]

        def rest(name: str, *, off: float = 0.0) -> Tensor:
            return (1 - precise(name, off=off)).to(columns.dtype)

        return cls(
            lr=lr_M1[rows],
            momentum=column("momentum"),
            rest_momentum=rest("momentum"),
            dampening=column("dampening"),
            beta1=precise("beta1"),
            beta2=precise("beta2", off=optimizer.beta2),
            rest_beta1=rest("beta1"),
            rest_beta2=rest("beta2", off=optimizer.beta2),
            rest_alpha=rest("alpha"),
            rmsprop_momentum=column("rmsprop_momentum"),
            rest_rho=rest("rho"),
            eps=column("eps", off=optimizer.eps),
            decay_factor=_decay_factor(columns, rows),
            eta_minus=column("eta_minus"),
            eta_plus=column("eta_plus"),
            gain_step=column("gain_step"),
            swats_tolerance=precise("swats_tolerance"),
            alike=_alike(columns, rows, optimizer),
            sums=sums,
        )


Update = Callable[[Tensor, Tensor, State, Hyper, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """An update rule, its state (all zeros before the first update), and its own defaults.

    ``update(w_mP, g_mP, state, hyper, step)`` may overwrite the weights, the gradient and the
    state; ``step`` counts from 1. ``state`` names tensors [m, P] of the weights' type, ``scalars``
    columns [m, 1] of float64. ``eps`` and ``beta2`` are what None stands for in a configuration.

    ``decoupled``: the caller multiplies the weights by 1 - lr weight_decay before the update; for
    the others it adds weight_decay w to the gradient. ``reads`` are the fields of ``TrainConfig``
    that the rule follows beside the learning rate.
    """

    update: Update
    state: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    eps: float = 1e-8
    beta2: float = 0.999
    decoupled: bool = False
    reads: tuple[str, ...] = ()


def accumulate(total_m1: Tensor, beta_m1: Tensor) -> Tensor:
    """c <- beta c + (1 - beta) in place: 1 - beta^t after t updates, and the product form of it.

    It is the weight that a moving average begun at zero has gathered (Kingma and Ba 2015, sec. 3).
    A power would be shorter, but vectorized code gives other last bits than scalar code does, so
    that a row alone would differ from the same row in company: by more than rows do that ``fused``
    updates, since it would do so in every rule and in float64 too.
    """
    return torch.addcmul(1 - beta_m1, total_m1, beta_m1, out=total_m1)


def root_plus(square_mP: Tensor, shift_m1: Tensor) -> Tensor:
    """sqrt(square) + shift, [m, P]; to the last bit but one on a CPU.

    There torch.sqrt is MKL's, which takes 4 to 8 times as long where it meets zeros, as all is that
    looks at a pixel that is always black (64 rows of 64-50-10: 6 to 11 us a row, 1 this way).
    """
    if square_mP.is_cuda:
        return square_mP.sqrt().add_(shift_m1)
    numbers = torch.finfo(square_mP.dtype)
    inverse_mP = square_mP.clamp(numbers.tiny, numbers.max).pow_(-0.5)
    return torch.addcmul(shift_m1, square_mP, inverse_mP, out=inverse_mP)


def _alike(columns: Columns, rows: slice, optimizer: Optimizer) -> dict[str, float] | None:
    off = {"beta2": optimizer.beta2, "eps": optimizer.eps}
    found: dict[str, float] = {}
    for name in optimizer.reads:
        number = columns.alike(name, rows, off=off.get(name, 0.0))
        if number is None:
            return None
        found[name] = number
    return found


def _decay_factor(columns: Columns, rows: slice) -> Tensor:
    """nadam's 0.96^psi, on the host for the reason that ``accumulate`` gives."""
    factors = [[0.96**config.momentum_decay] for config in columns.configs[rows]]
    return torch.tensor(factors, dtype=torch.float64).to(columns.device)
