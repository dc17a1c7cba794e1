"""Inverted dropout of inputs and of hidden units, each row at its own rate.

Called by ``group_training`` for every minibatch; h <- h * mask / (1 - p) (Srivastava et al. 2014).
Masks are keyed by (trial, epoch, step, layer).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from workers.training.columns import Columns
from workers.training.keyed import keep_mask

_INPUTS = 2**31 - 1  # a counter that no hidden layer has


def hidden_dropout(
    columns: Columns, epoch: int, step: int
) -> Callable[[Tensor, int], Tensor] | None:
    """A function of (h [M, ...], layer), or None if no row has dropout."""
    rates_M = columns.active("dropout")
    if rates_M is None:
        return None
    return lambda h, layer: _drop(h, rates_M, columns, (epoch, step, layer))


def drop_inputs(x_mBF: Tensor, columns: Columns, epoch: int, step: int) -> Tensor:
    """Inputs [M, B, F] with dropout, or as they are if no row has it."""
    rates_M = columns.active("input_dropout")
    if rates_M is None:
        return x_mBF
    x_MBF = x_mBF.expand(len(columns), -1, -1)
    return _drop(x_MBF, rates_M, columns, (epoch, step, _INPUTS))


def _drop(h: Tensor, rates_M: Tensor, columns: Columns, counters: tuple[int, ...]) -> Tensor:
    mask = keep_mask(columns.seeds_M, rates_M, h[0].numel(), *counters).view(h.shape)
    scale_M = (1 / (1 - rates_M)).view(-1, *[1] * (h.dim() - 1))
    return h * mask * scale_M
