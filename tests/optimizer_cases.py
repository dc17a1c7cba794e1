"""Rows under one optimizer as the stack drives them, for the tests of optimizers.

``updated`` is that drive; ``differing`` gives rows whose numbers all differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.training.columns import Columns
from workers.training.optimizers import VARIANTS, Hyper, variant
from workers.training.shares import Shares

CPU = torch.device("cpu")
# One configuration for every variant, by the variant's name.
FIELDS = {name: {"optimizer": name.split()[0]} for name in VARIANTS}
FIELDS["momentum dampened"] |= {"dampening": 0.4}
FIELDS["rmsprop centered"] |= {"centered": True}
FIELDS["rmsprop with momentum"] |= {"rmsprop_momentum": 0.7}
FIELDS["rmsprop centered with momentum"] |= {"centered": True, "rmsprop_momentum": 0.7}


def differing(name: str, num_rows: int = 3, **fields: object) -> list[TrainConfig]:
    """Rows of the variant ``name`` that differ in every number that an optimizer reads."""
    return [TrainConfig(**{**_numbers(row, name), **fields}) for row in range(num_rows)]


def _numbers(row: int, name: str) -> dict[str, object]:
    share = row / (row + 2)  # 0, 1/3, 1/2, 3/5 ...
    numbers: dict[str, object] = {
        "learning_rate": 0.003 * (row + 1),
        "momentum": 0.8 + 0.19 * share,
        "beta1": 0.85 + 0.14 * share,
        "beta2": None if row == 0 else 0.98 + 0.019 * share,
        "alpha": 0.9 + 0.09 * share,
        "rho": 0.85 + 0.14 * share,
        "eps": None if row == 0 else 1e-4 * row,
        "momentum_decay": 4e-3 * (row + 1),
        "eta_minus": 0.4 + 0.3 * share,
        "eta_plus": 1.1 + 0.3 * share,
        "gain_step": 0.05 + 0.2 * share,
    } | FIELDS[name]
    for field in ("dampening", "rmsprop_momentum"):
        if field in FIELDS[name]:
            numbers[field] = 0.3 + 0.7 * share
    return numbers


def starts(num_rows: int, num_weights: int = 23, dtype: torch.dtype = torch.float64) -> Tensor:
    """Weights [M, P] to begin at."""
    draw = torch.Generator().manual_seed(3)
    return torch.randn(num_rows, num_weights, generator=draw, dtype=torch.float64).to(dtype)


def noise(steps: int, num_rows: int, num_weights: int = 23) -> Tensor:
    """Gradients [steps, M, P] of float64 with some drift, so that signs both stay and turn."""
    draw = torch.Generator().manual_seed(4)
    shape = (num_rows, num_weights)
    drift = torch.randn(shape, generator=draw, dtype=torch.float64)
    return drift + torch.randn(steps, *shape, generator=draw, dtype=torch.float64)


def updated(
    configs: Sequence[TrainConfig],
    weights_MP: Tensor,
    gradients: Iterable[Tensor] | Callable[[Tensor], Tensor],
    factors: Iterable[float] = repeat(1.0),
) -> Tensor:
    """The weights after one update for each of ``gradients``, with rates times ``factors``.

    ``gradients`` may be a function of the weights; ``factors`` then says how many updates.
    The rows lie behind a row of another optimizer, so that what reads the wrong rows is seen.
    """
    name = variant(configs[0])
    assert all(variant(config) == name for config in configs)
    optimizer, w = VARIANTS[name], weights_MP.clone()
    stranger = TrainConfig(optimizer="sgd", learning_rate=7.0, momentum=0.1, beta1=0.1, eps=0.7)
    columns = Columns(
        [stranger, *configs], range(len(w) + 1), [0] * (len(w) + 1), w.device, w.dtype
    )
    rows = slice(1, None)
    rates_M1 = columns.number("learning_rate")[:, None].clone()
    hyper = Hyper.of(columns, rows, optimizer, rates_M1, Shares(()).sums)
    column = {"dtype": torch.float64, "device": w.device}
    state = {key: torch.zeros_like(w) for key in optimizer.state}
    state |= {key: torch.zeros(len(w), 1, **column) for key in optimizer.scalars}
    decay = columns.number("weight_decay")[rows, None]
    given = (gradients(w) for _ in repeat(None)) if callable(gradients) else gradients
    for step, (gradient, factor) in enumerate(zip(given, factors, strict=False), start=1):
        rates_M1.copy_(columns.number("learning_rate")[:, None] * factor)
        g = gradient.to(w).clone()
        if optimizer.decoupled:
            w.mul_(1 - hyper.lr * decay)
        else:
            g.addcmul_(w, decay)
        optimizer.update(w, g, state, hyper, step)
    return w
